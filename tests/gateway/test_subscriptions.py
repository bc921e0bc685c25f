"""Who follows what: the rows of ``/v1/subscriptions`` and ``/v1/durables``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.bus import Access, Principal
from antiphon.gateway.routes.subscriptions import may_see

from .test_held import hold, more
from .test_sse import stream
from .test_ws import publish

Until = Callable[[Callable[[], bool]], Any]


async def test_each_open_subscription_is_listed_with_its_lag_and_window(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one, stream(desk, "?pattern=b") as source:
        await source.block()
        await one.sub("live", "a.*", window=2)
        await one.until("live")
        await hold(one, "h")
        await publish(desk, 5)
        while desk.bus.durables()[0].in_hand < 5:
            await one.until("ev")
        await until(lambda: len(list(desk.gateway._register)) == 3)
        rows = {(row["conn"], row["sid"]): row for row in await desk.get("/v1/subscriptions")}
        conn = one.welcome["conn"]
        live, held = rows[conn, "live"], rows[conn, "h"]
        (follower,) = (row for row in rows.values() if row["conn"].startswith("stream/"))
        assert (live["owner"], live["patterns"], live["durable"]) == ("admin", ["a.*"], None)
        assert (live["window"], live["unacked"], live["position"], live["lag"]) == (2, 2, 2, 3)
        assert (held["durable"], held["window"], held["position"], held["lag"]) == (
            "mail",
            1000,
            0,
            5,
        )
        assert (follower["window"], follower["unacked"], follower["lag"]) == (None, 0, 0)
    await until(lambda: not list(desk.gateway._register))
    assert await desk.get("/v1/subscriptions") == []


async def test_durables_are_listed_resumed_and_dropped(desk: Any, until: Until) -> None:
    async with desk.client() as one:
        await hold(one, tries=1, on_exhausted="stop")
        await publish(desk, 2)
        await more(one, 2)
        assert (await desk.get("/v1/durables"))[0]["state"] == "held"
        again = await desk.ask("POST", "/v1/durables/mail/resume")
        assert again.json() == {"resumed": False}
        await one.send("nack", sid="s", seq=1)
        await one.expect("ended")
        await until(lambda: desk.bus.head == 3)  # the news of that is an event
        (info,) = await desk.get("/v1/durables")
        assert (info["name"], info["state"], info["lag"]) == ("mail", "stopped", 3)
        skipped = await desk.post("/v1/durables/mail/resume", {"skip": True})
        assert (skipped.status, skipped.json()) == (200, {"resumed": True})
        await hold(one)
        assert await more(one, 1) == [2]
        assert (await desk.ask("DELETE", "/v1/durables/mail")).status == 204
        await one.expect("ended")
        assert await desk.get("/v1/durables") == []
    for method, path in (("DELETE", ""), ("POST", "/resume")):
        answer = await desk.ask(method, f"/v1/durables/mail{path}")
        assert (answer.status, answer.json()["code"]) == (404, "not_found")
    bad = await desk.post("/v1/durables/mail/resume", {"skp": True})
    assert (bad.status, bad.json()["code"]) == (400, "bad_request")


async def test_a_token_sees_its_own_alone(desk: Any) -> None:
    guest = Principal("guest", Access(sub=("a.*",)))
    lease = await desk.bus.open_lease("theirs", "a.*", on_ready=lambda: None, principal=guest)
    async with desk.client() as one:
        await hold(one)
        assert {row["name"] for row in await desk.get("/v1/durables")} == {"mail", "theirs"}
        rows = [*desk.bus.durables(), *desk.gateway._register]
        assert [may_see(guest, row.owner) for row in rows] == [False, True, False]
        lease.release()
