"""The WebSocket over a real socket: events, windows, lives and deaths of connections."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from antiphon.bus.event_bus import SCOPE

from .conftest import serving

Until = Callable[[Callable[[], bool]], Any]


async def publish(desk: Any, count: int, topic: str = "a.b") -> list[int]:
    """Publish in the server, without a socket; the seqs."""
    done = await asyncio.gather(*(desk.bus.publish_event(topic, n) for n in range(count)))
    return [one.seq for one in done]


# --- events -------------------------------------------------------------------------------


async def test_a_subscriber_receives_each_event_once_in_order_and_is_told_when_live(
    desk: Any,
) -> None:
    await publish(desk, 3)
    async with desk.client() as one:
        ok = await one.sub("s", "a.*", **{"from": "earliest"})
        assert ok["pos"].endswith(".0")
        assert ok["effective"] == ["a.*"]
        assert await one.seqs("s", 3) == [1, 2, 3]
        assert (await one.until("live"))["sid"] == "s"
        await publish(desk, 200)
        assert await one.seqs("s", 200) == list(range(4, 204))


async def test_a_frame_holds_events_as_stored_and_the_position_after_them(desk: Any) -> None:
    async with desk.client() as one:
        await one.sub("s")
        await publish(desk, 1)
        frame = await one.until("ev")
        assert frame["cursor"].endswith(".1")
        assert frame["events"] == [await desk.get("/v1/events/1")]
        assert list(frame) == ["op", "sid", "events", "cursor"]


async def test_a_cursor_goes_on_exactly_where_it_was_taken_on_another_connection(
    desk: Any,
) -> None:
    async with desk.client() as one:
        await one.sub("s")
        await publish(desk, 5)
        seqs = await one.seqs("s", 5)
        cursor = f"{one.welcome['epoch']}.3"
    await publish(desk, 5)
    async with desk.client() as two:
        await two.sub("s", after=cursor)
        assert await two.seqs("s", 7) == list(range(4, 11))
    assert seqs == [1, 2, 3, 4, 5]


async def test_a_cursor_of_another_history_is_a_reset_and_reading_goes_on(desk: Any) -> None:
    await publish(desk, 2)
    async with desk.client() as one:
        await one.sub("s", after="nosuchepoch.9")
        reset = await one.until("reset")
        assert (reset["sid"], "nosuchepoch" in reset["message"]) == ("s", True)
        assert await one.seqs("s", 2) == [1, 2]


async def test_what_was_trimmed_is_a_gap_and_reading_goes_on(desk: Any) -> None:
    await publish(desk, 9, "a.b")
    await desk.bus._log.trim("a.b", 6)
    desk.bus._log.ring.restart(desk.bus.head)  # as after a restart: it is read from disk
    async with desk.client() as one:
        await one.sub("s", "a.*", after=2)
        gap = await one.until("gap")
        assert (gap["sid"], gap["from"], gap["to"]) == ("s", 3, 6)
        assert await one.seqs("s", 3) == [7, 8, 9]


async def test_last_brings_the_newest_event_of_each_topic_then_what_follows(desk: Any) -> None:
    await publish(desk, 3, "a.b")
    await publish(desk, 3, "a.c")
    async with desk.client() as one:
        assert "pos" not in await one.sub("s", "a.*", **{"from": "last"})
        assert await one.seqs("s", 2) == [3, 6]
        await publish(desk, 1)
        assert await one.seqs("s", 1) == [7]


async def test_after_unsub_nothing_more_comes_and_the_sid_is_free(desk: Any) -> None:
    async with desk.client() as one:
        await one.sub("s", "a.*")
        await one.sub("t", "a.*")
        await one.send("unsub", id=2, sid="s")
        await one.until("ok")
        await publish(desk, 3)
        assert await one.seqs("t", 3) == [1, 2, 3]
        await one.sub("s", "a.*")


async def test_publishes_are_answered_each_in_order(desk: Any) -> None:
    async with desk.client() as one, desk.client() as two:
        await two.sub("s")
        results = await one.pub(
            {"topic": "a.b", "payload": 1},
            {"topic": "a..b", "id": "x"},
            {"topic": "a.b", "payload": 2},
        )
        assert [r.get("seq") for r in results] == [1, None, 2]
        assert (results[1]["id"], results[1]["error"]["code"]) == ("x", "invalid_topic")
        for n in range(20):
            await one.send("pub", id=n, events=[{"topic": "o", "payload": n}])
        payloads: list[int] = []
        while len(payloads) < 22:
            payloads += [event["payload"] for event in (await two.until("ev"))["events"]]
        assert payloads == [1, 2, *range(20)]


async def test_ephemeral_events_come_without_seq_and_leave_the_cursor(desk: Any) -> None:
    async with desk.client() as one, desk.client() as two:
        ok = await one.sub("s", "*.typing")
        await one.until("live")
        assert (await two.pub({"topic": "chat.typing"}))[0]["seq"] is None
        frame = await one.until("ev")
        assert "seq" not in frame["events"][0]
        assert frame["cursor"] == ok["pos"]


async def test_ephemeral_events_that_are_dropped_are_counted_by_lag(desk: Any) -> None:
    """Whoever reads slower than they come loses the oldest, and is told how many."""
    async with desk.client() as one:
        await one.sub("s", "*", window=1)
        seq = (await publish(desk, 1, "a"))[0]
        await one.until("ev")  # the window is full, and stays so
        for n in range(5000):
            desk.bus.publish_event("chat.typing", n)
        await one.send("ack", sid="s", seq=seq)
        lag = await one.until("lag")
        events = (await one.until("ev"))["events"]
        assert lag["sid"] == "s"
        assert 0 < lag["dropped"] == events[0]["payload"]


async def test_narrow_gives_what_the_token_allows_and_without_it_forbidden(desk: Any) -> None:
    async with desk.client() as one:
        await one.send("sub", id=5, sid="s", patterns=["_private.*"])
        assert (await one.until("err"))["code"] == "forbidden"
        ok = await one.sub("s", "_sys.*", "a", narrow=True)
        assert ok["effective"] == ["_sys.*", "a"]


# --- windows ------------------------------------------------------------------------------


async def test_no_more_than_the_window_is_sent_unacknowledged(desk: Any) -> None:
    await publish(desk, 30)
    async with desk.client() as one:
        await one.sub("s", window=10, **{"from": "earliest"})
        assert await one.seqs("s", 10, ack=False) == list(range(1, 11))
        await one.send("unsub", id=7, sid="nothing")  # an answer proves that no event is before it
        assert (await one.frame())["op"] == "err"
        await one.send("ack", sid="s", seq=4)
        assert await one.seqs("s", 4, ack=False) == [11, 12, 13, 14]
        await one.send("ack", sid="s", seq=14)
        assert await one.seqs("s", 16) == list(range(15, 31))


async def test_a_frame_has_at_most_128_events(desk: Any) -> None:
    await publish(desk, 500)
    async with desk.client() as one:
        await one.sub("s", **{"from": "earliest"})
        seqs: list[int] = []
        while len(seqs) < 500:
            frame = await one.until("ev")
            assert len(frame["events"]) <= 128
            seqs += [event["seq"] for event in frame["events"]]
        assert seqs == list(range(1, 501))


async def test_a_client_that_does_not_read_holds_up_nobody_else(desk: Any) -> None:
    payload = "x" * 50_000
    async with desk.client() as slow, desk.client() as quick:
        await slow.sub("s", window=10_000)
        await quick.sub("q")
        slow.connection.transport.pause_reading()
        for _ in range(20):
            await asyncio.gather(*(desk.bus.publish_event("big", payload) for _ in range(20)))
            await quick.seqs("q", 20)
        slow.connection.transport.resume_reading()
        assert await slow.seqs("s", 400) == list(range(1, 401))


# --- bad input ----------------------------------------------------------------------------


async def test_junk_is_answered_and_neighbours_notice_nothing(desk: Any) -> None:
    async with desk.client() as good, desk.client() as bad:
        await good.sub("s", "a.*")
        for junk in (
            "",
            "nonsense",
            "[]",
            '{"op":"dance"}',
            "[" * 100_000,
            b"\x00\x01",
            '"\\ud800"',
        ):
            await bad.connection.send(junk)
            error = await bad.expect("err")
            assert (error.get("id"), error["code"]) == (None, "bad_request")
        (result,) = await bad.pub({"topic": "a.b", "payload": 2**60})
        assert result["error"]["code"] == "invalid_payload"
        await publish(desk, 1)
        assert await good.seqs("s", 1) == [1]
        await bad.sub("s", after=0)
        assert await bad.seqs("s", 1) == [1]


@pytest.mark.parametrize(
    "payload",
    ["NaN", "Infinity", "1e400", "9" * 5000, "[" * 100_000 + "]" * 100_000, '"\\ud800"'],
    ids=lambda text: text[:8],
)
async def test_a_bad_payload_is_refused_and_the_log_stays_clean(desk: Any, payload: str) -> None:
    async with desk.client() as one:
        await one.connection.send(
            f'{{"op":"pub","id":3,"events":[{{"topic":"a","payload":{payload}}}]}}'
        )
        answer = await one.frame()
        assert answer["id"] == 3
        if len(payload) > 100_000:  # too much to find out which event is bad
            assert (answer["op"], answer["code"]) == ("err", "bad_request")
        else:
            assert answer["results"][0]["error"]["code"] == "invalid_payload"
        assert desk.bus.head == 0
        await one.pub({"topic": "a"})


@pytest.mark.parametrize("payload", ["NaN", "[" * 2000 + "]" * 2000, '"\\ud800"'], ids=len)
async def test_an_event_that_cannot_be_read_is_refused_alone(desk: Any, payload: str) -> None:
    async with desk.client() as one:
        bad, good = f'{{"topic":"a","payload":{payload}}}', '{"topic":"a","payload":"\u00e9"}'
        await one.connection.send(f'{{"op":"pub","events":[{good},{bad},{good}],"id":3}}')
        results = (await one.expect("ok"))["results"]
        assert [result.get("seq") for result in results] == [1, None, 2]
        assert results[1]["error"]["code"] == "invalid_payload"
        assert ("surrogate" in results[1]["error"]["message"]) is ("ud800" in payload)


@pytest.mark.parametrize(
    "text",
    [
        '{"op":"pub","id":3,"events":{{"topic":"a"},{"topic":"b"}}}',
        '{"op":"pub","id":3,"events":{"topic":"a","payload":NaN}}',
        '{"id":3,"op":"pub","events":{"topic":"a","payload":1}}',
        '{"id":3,op:"pub","events":[{"topic":"a"},x]}',
    ],
)
async def test_a_pub_without_a_list_of_events_stores_nothing(desk: Any, text: str) -> None:
    async with desk.client() as one:
        await one.connection.send(text)
        error = await one.expect("err")
        assert (error["id"], error["code"]) == (3, "bad_request")
    assert desk.bus.head == 0


async def test_a_frame_over_one_mebibyte_closes_its_connection_alone(desk: Any) -> None:
    async with desk.client() as good, desk.client() as bad:
        await good.sub("s")
        await bad.connection.send("x" * (1024 * 1024 + 1))
        assert (await bad.closed())[0] == 1009
        await publish(desk, 1)
        assert await good.seqs("s", 1) == [1]


async def test_text_that_is_not_utf8_closes_its_connection_alone(desk: Any) -> None:
    async with desk.client() as good, desk.client() as bad:
        await good.sub("s")
        masked = bytes([0x81, 0x82]) + b"\0\0\0\0" + b"\xff\xff"
        bad.connection.transport.write(masked)
        assert (await bad.closed())[0] == 1007
        await publish(desk, 1)
        assert await good.seqs("s", 1) == [1]


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_a_missing_or_wrong_token_is_refused_for_good(
    desk: Any, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk.socket() as one:
        await one.send("hello", v=1, token=token)
        assert (await one.expect("err"))["code"] == "unauthorized"
        bye = await one.expect("bye")
        assert (bye["code"], bye["retry"]) == (4501, False)
        assert (await one.closed())[0] == 4501
    assert "wrong" not in caplog.text


async def test_a_connection_that_does_not_say_hello_is_closed(desk: Any) -> None:
    async with desk.socket() as one:
        await one.send("sub", id=1, sid="s", patterns=["*"])
        assert (await one.expect("bye"))["code"] == 4500
        assert (await one.closed())[0] == 4500


async def refused(desk: Any, **options: Any) -> tuple[int, dict[str, Any]]:
    """The HTTP answer to a handshake that is not accepted."""
    with pytest.raises(InvalidStatus) as error:
        async with desk.socket(**options):
            pass
    response = error.value.response
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, json.loads(response.body or b"{}")


async def test_foreign_hosts_and_origins_are_turned_away_before_the_handshake(desk: Any) -> None:
    for origin in ("http://evil.example", f"http://127.0.0.1:{desk.port + 1}", "null"):
        status, body = await refused(desk, origin=origin)
        assert (status, body["code"]) == (403, "forbidden")
    connection_to = {"host": "127.0.0.1", "port": desk.port}
    with pytest.raises(InvalidStatus) as error:
        await asyncio.wait_for(_connect("ws://evil.example/v1/ws", **connection_to), 10)
    assert error.value.response.status_code == 403
    assert desk.connections() == []


async def _connect(address: str, **options: Any) -> None:
    from websockets.asyncio.client import connect

    async with connect(address, proxy=None, subprotocols=["bus.v1.json"], **options):
        pass


async def test_the_subprotocol_must_be_asked_for_and_the_path_be_right(desk: Any) -> None:
    status, body = await refused(desk, subprotocols=["other"])
    assert (status, body["code"]) == (400, "bad_request")
    with pytest.raises(InvalidStatus) as error:
        await _connect(f"ws://127.0.0.1:{desk.port}/elsewhere")
    assert error.value.response.status_code == 404


async def test_more_sockets_than_allowed_are_turned_away(tmp_path: Path, until: Until) -> None:
    async with serving(tmp_path, sockets=2) as desk:
        async with desk.client(), desk.client():
            status, body = await refused(desk)
            assert (status, body["code"], body["limit"]) == (429, "overloaded", 2)
        await until(lambda: not desk.connections())
        async with desk.client():
            pass


async def test_sockets_that_say_no_hello_keep_nobody_out(tmp_path: Path) -> None:
    """All seats are taken: by one who said hello, and by strangers, of whom the first goes."""
    async with (
        serving(tmp_path, sockets=3) as desk,
        desk.client() as known,
        desk.socket() as first,
        desk.socket() as second,
        desk.client() as late,
    ):
        assert (await first.closed())[0] == 1006
        await second.hello(desk.token)
        assert (await refused(desk))[0] == 429
        for socket in (known, second, late):
            await socket.sub("s", "a")
        refusals = desk.gateway.refusals
        assert (refusals["sockets_cut"], refusals["sockets"]) == (1, 1)


# --- the cookie ---------------------------------------------------------------------------


async def test_the_page_connects_by_cookie_and_a_cookie_without_origin_is_worth_nothing(
    desk: Any,
) -> None:
    origin = f"http://localhost:{desk.port}"
    answer = await desk.post(
        "/v1/login", {"token": desk.token}, headers={"Origin": origin}, token=None
    )
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    async with desk.socket(origin=origin, additional_headers=cookie) as page:
        await page.hello(None)
        await page.sub("s")
    async with desk.socket(additional_headers=cookie) as forged:
        await forged.send("hello", v=1)
        assert (await forged.expect("err"))["code"] == "unauthorized"


# --- lives and deaths ---------------------------------------------------------------------


async def test_a_connection_has_an_actor_and_groups_that_end_with_its_socket(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one:
        key = one.welcome["conn"]
        assert desk.connections() == [key]
        await one.sub("s", "a.*")
        await one.sub("t", "a.*", "b")
        ref = desk.system.lookup(key)
        assert desk.system.groups.members(SCOPE, "a.*") == [ref]
        await one.send("unsub", id=2, sid="t")
        await one.until("ok")
        assert set(desk.system.groups.groups(SCOPE)) == {"a.*"}
        assert desk.bus.log.subscriptions == 1
    await until(lambda: not desk.connections())
    assert desk.system.groups.groups(SCOPE) == {}
    assert desk.bus.log.subscriptions == 0


async def test_a_connection_that_is_cut_leaves_nothing_behind(desk: Any, until: Until) -> None:
    async with desk.client() as one:
        await one.sub("s")
        one.connection.transport.abort()
        await until(lambda: not desk.connections())
        assert desk.bus.log.subscriptions == 0


async def test_what_a_client_sent_before_it_left_is_still_done(desk: Any, until: Until) -> None:
    async with desk.client() as one:
        for n in range(200):
            await one.send("pub", id=n, events=[{"topic": "a.b"}])
    await until(lambda: desk.bus.head == 200)


async def test_a_quiet_subscription_is_told_its_position_with_each_ping(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.gateway.session.PING_S", 0.05)
    async with desk.client() as one:
        await one.sub("s", "nothing.*")
        await one.until("live")
        await publish(desk, 3)
        pos = await one.until("pos")
        assert (pos["sid"], pos["cursor"].endswith(".3")) == ("s", True)
        await one.until("ping")
        await one.send("pong")


async def test_a_client_that_answers_no_ping_is_told_to_come_back(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.gateway.session.PING_S", 0.05)
    monkeypatch.setattr("antiphon.gateway.session.PONG_S", 0.05)
    async with desk.client() as one:
        assert (await one.until("bye"))["retry"] is True
        assert (await one.closed())[0] == 4002


async def test_a_client_that_asks_and_never_reads_is_let_go(
    desk: Any, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("antiphon.gateway.connection.WRITE_S", 0.05)
    monkeypatch.setattr("antiphon.gateway.connection.FAREWELL_S", 0.05)
    monkeypatch.setattr("antiphon.gateway.ws.CLOSE_S", 0.05)
    monkeypatch.setattr("antiphon.gateway.protocols.LINGER_S", 0.05)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that little fills it
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", desk.port))
    async with desk.client() as good, desk.client(sock=small) as deaf:
        deaf.connection.transport.pause_reading()

        async def ask() -> None:
            frame = json.dumps({"op": "unsub", "id": 1, "sid": "x" * 5_000})
            while True:
                await deaf.connection.send(frame)

        asking = asyncio.create_task(ask())
        await until(lambda: desk.connections() == [good.welcome["conn"]])
        asking.cancel()
        await good.sub("s")
        await publish(desk, 1)
        assert await good.seqs("s", 1) == [1]


async def test_killing_its_actor_closes_the_socket_with_a_reconnect_code(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one, desk.client() as other:
        await one.sub("s", "a.*")
        await other.sub("s", "a.*")
        path = f"/v1/actors/{one.welcome['conn']}/kill"
        assert (await desk.ask("POST", path, b"{}")).status == 204
        bye = await one.until("bye")
        assert (bye["code"], bye["retry"]) == (4001, True)
        assert (await one.closed())[0] == 4001
        (seq,) = await publish(desk, 1)
        assert await other.seqs("s", 1) == [seq]
        assert desk.bus.log.subscriptions == 1


async def test_when_the_parent_of_connections_dies_they_close_and_new_ones_open(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one:
        await desk.ask("POST", "/v1/actors/gateway/sessions/kill", b"{}")
        assert (await one.closed())[0] == 4001
    async with desk.client() as two:
        assert two.welcome["conn"] != one.welcome["conn"]


async def test_when_the_bus_actor_or_the_store_dies_subscribers_notice_nothing(
    desk: Any, until: Until
) -> None:
    async with desk.client() as one:
        await one.sub("s")
        published: list[int] = []
        for key in ("log/bus", "log/store"):
            generation = desk.system.lookup(key).generation
            await desk.ask("POST", f"/v1/actors/{key}/kill", b"{}")
            await until(
                lambda key=key, generation=generation: (
                    desk.system.lookup(key).generation > generation
                )
            )
            published += await publish(desk, 3)
        assert await one.seqs("s", 6) == published


async def test_a_shutdown_answers_publishes_in_hand_and_says_goodbye(tmp_path: Path) -> None:
    async with serving(tmp_path) as desk:
        async with desk.client() as one:
            for n in range(50):
                await one.send("pub", id=n, events=[{"topic": "a.b"}] * 20)
            first = await one.until("ok")
            closing = asyncio.create_task(desk.gateway.aclose())
            answered, bye = [first["id"]], None
            while bye is None:
                frame = await one.expect("ok", "bye")
                if frame["op"] == "bye":
                    bye = frame
                else:
                    answered.append(frame["id"])
            assert (bye["code"], bye["retry"]) == (4000, True)
            assert (await one.closed())[0] == 4000
            await closing
            assert answered == list(range(len(answered)))
            assert desk.bus.head == 20 * len(answered)
        with pytest.raises(OSError):
            async with desk.socket():
                pass


async def test_a_handshake_that_never_ends_is_cut(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.gateway.protocols.HEADERS_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    writer.write(b"GET /v1/ws HTTP/1.1\r\nHost: x")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01 hello",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000,
        struct.pack("!I", 7) * 1000,
    ],
    ids=lambda junk: repr(junk[:12]),
)
async def test_junk_on_the_port_is_refused_and_neighbours_notice_nothing(
    desk: Any, junk: bytes
) -> None:
    async with desk.client() as good:
        await good.sub("s")
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(junk)
        async with asyncio.timeout(10):
            answer = await reader.read(4096)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 431"))
        writer.close()
        await publish(desk, 1)
        assert await good.seqs("s", 1) == [1]
