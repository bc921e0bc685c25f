"""Wherever a token could have gone, it is not there."""

from __future__ import annotations

import hmac
import inspect
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import TOKEN, Desk, serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from antiphon.gateway import Auth, Tokens, auth, tokens
from antiphon.gateway.tokens import digest

WRONG = "anti_wrong-wrong-wrong-wrong-wrong-wrong-wrong"


async def traffic(desk: Desk, shown: list[str]) -> list[str]:
    """Do all that brings a token near the server; the secrets. What is answered goes to *shown*."""
    origin = {"Origin": f"http://127.0.0.1:{desk.port}"}
    ann = await desk.issue("ann", pub=["a.*"], sub=["a.*"])
    login = await desk.post("/v1/login", {"token": ann}, headers=origin, token=None)
    cookie = login.headers["set-cookie"].partition(";")[0].partition("=")[2]
    answers = [
        await desk.ask("GET", "/v1/me", token=WRONG),
        await desk.ask("GET", "/v1/status", token=ann),
        await desk.ask("GET", f"/v1/events?token={ann}", token=None),
        await desk.ask("GET", f"/v1/events?access_token={TOKEN}", token=ann),
        await desk.ask("GET", f"/v1/nothing/{WRONG}?token={WRONG}", token=ann),
        await desk.post("/v1/login", {"token": WRONG}, headers=origin, token=None),
        await desk.post("/v1/login", {"token": ann, "x": 1}, headers=origin, token=None),
        await desk.post("/v1/tokens", {"name": ann}),
        await desk.ask("DELETE", f"/v1/tokens/{ann}"),
        await desk.ask("DELETE", f"/v1/tokens/{ann}", token=WRONG),
        await desk.ask("GET", f"/v1/{ann}", headers={"Host": "evil.example"}),
        await desk.ask("GET", "/v1/me", headers={"Authorization": f"Basic {ann}"}, token=None),
    ]
    shown += [f"{answer.headers}{answer.body.decode()}" for answer in answers]
    for hello in (ann, WRONG, TOKEN):
        async with desk.socket() as socket:
            await socket.send("hello", v=1, token=hello)
            shown.append(str(await socket.frame()))
            for name, token in (("refresh", WRONG), ("refresh", ann), ("hello", TOKEN)):
                try:
                    await socket.send(name, id=1, token=token)
                    await socket.send(name, v=1, token=token, x=token)
                    shown += [str(await socket.frame()), str(await socket.frame())]
                except ConnectionClosed:
                    break
    address = f"ws://127.0.0.1:{desk.port}/v1/ws?token={ann}"
    async with connect(address, subprotocols=["bus.v1.json"], proxy=None) as raw:  # type: ignore[list-item]
        await raw.send('{"op":"hello","v":1}')
        said = str(await raw.recv())
        assert "unauthorized" in said
        shown.append(said)
    return [TOKEN, ann, WRONG, cookie]


async def test_no_log_no_event_no_answer_and_no_status_has_a_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At level DEBUG, over every way in, good tokens and bad ones."""
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    known = Auth(TOKEN, Tokens(tmp_path / "tokens.json"))
    async with serving(tmp_path / "web", auth=known) as desk:
        secrets = await traffic(desk, shown)
        await desk.bus.log.in_writer(lambda: None)
        queries = [f"events?pattern={pattern}&limit=500" for pattern in ("*", "_sys.*")]
        paths = [*queries, "status", "tokens", "actors", "topics", "me"]
        shown += [str(await desk.get(f"/v1/{path}")) for path in paths]
        shown += [repr(known), repr(known.tokens), str(vars(known)), str(desk.gateway.refusals)]
    logged = [r for r in caplog.records if not r.name.startswith("websockets.client")]
    shown += [f"{record.getMessage()} {vars(record)}" for record in logged]
    shown.append((tmp_path / "tokens.json").read_text())
    assert len(shown) > 30
    for secret in secrets:
        assert [text for text in shown if secret in text] == []
    hashes = [digest(secret) for secret in secrets]
    assert [text for text in shown[:-1] if any(hash in text for hash in hashes)] == []


async def test_a_token_in_an_address_opens_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path / "web") as desk:
        for query in (f"token={TOKEN}", f"access_token={TOKEN}", f"authorization=Bearer {TOKEN}"):
            answer = await desk.ask("GET", f"/v1/topics?{query.replace(' ', '%20')}", token=None)
            assert answer.status == 401


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison of a token or a signature goes through ``compare_digest``."""
    compared: list[tuple[Any, Any]] = []
    real = hmac.compare_digest

    def seen(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", seen)
    known = Auth(TOKEN)
    passed = known.by_token(TOKEN)
    assert passed is not None
    assert len(compared) == 1
    known.by_token(WRONG)
    assert len(compared) == 2
    assert len(compared[0][0]) == len(compared[1][0]) == 32  # whatever the token's length
    known.by_cookie(known.make_cookie(passed)[0])
    assert len(compared) == 3
    for module in (auth, tokens):
        source = inspect.getsource(module)
        assert "hash ==" not in source
        assert "token ==" not in source
