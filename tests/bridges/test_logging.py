"""Log records become events; logging never waits, never loops, never fails for it."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bus.conftest import until

import antiphon
from antiphon.app import core
from antiphon.bridges.logging import BusHandler, publishing_logs, topic_of
from antiphon.bus.topics import check_topic
from antiphon.errors import InvalidTopic
from antiphon.messages import Event
from antiphon.stores import MemoryEventStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger outside the tree: only the handlers of a test hear it."""
    logger = logging.Logger("shop.orders", logging.DEBUG)
    yield logger
    for handler in list(logger.handlers):
        handler.close()


def handle(logger: logging.Logger, **options: Any) -> BusHandler:
    handler = BusHandler(**options)
    logger.addHandler(handler)
    return handler


async def stored(bus: antiphon.Bus) -> list[Event]:
    import msgspec

    page = await bus.query(limit=500)
    return [msgspec.json.decode(data, type=Event) for data in page.data]


async def test_a_record_becomes_an_event_with_where_and_what(log: logging.Logger) -> None:
    handler = handle(log)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            try:
                raise KeyError("x")
            except KeyError:
                log.exception("order %d failed", 7, extra={"order": 7, "odd": float("nan")})
            await until(lambda: handler.published == 1)
            [event] = await stored(app.bus)
    assert (event.topic, event.type) == ("log.shop.orders", "custom.log")
    payload = event.payload
    assert payload["message"] == "order 7 failed"
    assert payload["level"] == "ERROR"
    assert payload["exception"].endswith("KeyError: 'x'")
    assert payload["extra"] == {"order": 7, "odd": "nan"}
    assert payload["function"] == "test_a_record_becomes_an_event_with_where_and_what"
    assert "dropped" not in payload


async def test_a_root_logger_at_debug_hears_everything_and_never_itself() -> None:
    """Also with the loop's own debug mode, which logs much of what publishing does."""
    root = logging.getLogger()
    before = root.level
    handler = handle(root)
    root.setLevel(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    try:
        async with antiphon.open() as app:
            with publishing_logs(app.bus):
                for n in range(200):
                    logging.getLogger("mine").debug("%d", n)
                    logging.getLogger("antiphon.bus.writer").debug("own words")
                    logging.getLogger("asyncio").debug("slow callback")
                await until(lambda: handler.published == 200)
                await app.bus.publish_event("a.b", "settled")
                assert app.bus.head == 201
            events = await stored(app.bus)
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()
    assert [event.payload["message"] for event in events[:-1]] == [str(n) for n in range(200)]
    assert handler.dropped == 0


async def test_what_is_logged_while_publishing_is_dropped_not_published(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = handle(log)
    async with antiphon.open() as app:
        publish = app.bus.publish_event

        def talkative(*args: Any, **fields: Any) -> Any:
            log.warning("publishing %s", args)
            return publish(*args, **fields)

        monkeypatch.setattr(app.bus, "publish_event", talkative)
        with publishing_logs(app.bus):
            log.info("one")
            await until(lambda: handler.published == 1)
            await publish("a.b", 1)
        assert app.bus.head == 2
    assert (handler.published, handler.dropped) == (1, 1)


async def test_a_message_that_logs_while_it_is_formatted_does_not_recurse(
    log: logging.Logger,
) -> None:
    class Chatty:
        def __str__(self) -> str:
            log.info("formatting %s", self)
            return "chatty"

    handler = handle(log)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            log.info("%s", Chatty())
            await until(lambda: handler.published == 1)
        assert (await stored(app.bus))[0].payload["message"] == "chatty"


async def test_every_thread_may_log_and_its_order_stays(log: logging.Logger) -> None:
    handler = handle(log, capacity=4000)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):

            def work(number: int) -> None:
                for n in range(300):
                    log.info("%d", n, extra={"worker": number})

            await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(4)))
            await until(lambda: handler.published == 1200)
        async with app.bus.events("log.*", start="earliest") as events:
            seen = [await anext(events) for _ in range(1200)]
    for number in range(4):
        mine = [e.payload["message"] for e in seen if e.payload["extra"]["worker"] == number]
        assert mine == [str(n) for n in range(300)]


async def test_a_full_queue_drops_the_oldest_and_the_next_event_says_how_many(
    log: logging.Logger,
) -> None:
    handler = handle(log, capacity=10)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            for n in range(25):
                log.info("%d", n)
            await until(lambda: handler.published == 10)
        events = await stored(app.bus)
    assert [event.payload["message"] for event in events] == [str(n) for n in range(15, 25)]
    assert [event.payload.get("dropped") for event in events] == [15] + [None] * 9
    assert handler.dropped == 15


async def test_more_records_than_may_be_in_flight_follow_each_other(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.bridges.logging.IN_FLIGHT", 7)
    handler = handle(log)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            for n in range(100):
                log.info("%d", n)
            await asyncio.sleep(0)
            assert app.log.waiting <= 7
            await until(lambda: handler.published == 100)
        messages = [event.payload["message"] for event in await stored(app.bus)]
    assert messages == [str(n) for n in range(100)]


async def test_without_a_bus_and_after_its_end_records_are_dropped_and_counted(
    log: logging.Logger,
) -> None:
    handler = handle(log)
    log.info("too early")
    assert handler.dropped == 1
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            log.info("just in time")
    assert app.bus.head == 1
    log.info("too late")
    assert (handler.published, handler.dropped) == (1, 2)


def test_a_loop_that_closed_under_it_is_no_error(log: logging.Logger) -> None:
    handler = handle(log)

    async def main() -> None:
        async with core(MemoryEventStore()) as running:
            handler.attach(running.bus)

    asyncio.run(main())
    log.info("nobody hears this")
    log.info("nor this")
    assert handler.dropped == 2


async def test_a_record_that_cannot_be_formatted_goes_to_handle_error(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = handle(log)
    told: list[logging.LogRecord] = []
    monkeypatch.setattr(handler, "handleError", told.append)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            log.info("%d", "no number")
            log.info("fine")
            await until(lambda: handler.published == 1)
    assert [record.msg for record in told] == ["%d"]


async def test_what_the_bus_refuses_is_dropped_and_counted(log: logging.Logger) -> None:
    handler = handle(log)
    async with antiphon.open() as app:
        nobody = antiphon.Principal("nobody", antiphon.Access())
        with publishing_logs(app.bus, principal=nobody):
            for _ in range(3):
                log.info("forbidden")
            await until(lambda: handler.dropped == 3)
        assert app.bus.head == 0


async def test_it_is_configured_by_a_dict() -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(levelname)s: %(message)s"}},
        "handlers": {
            "bus": {
                "class": "antiphon.bridges.logging.BusHandler",
                "level": "INFO",
                "topic": "app.log",
                "formatter": "short",
            }
        },
        "loggers": {"shop.orders": {"handlers": ["bus"], "propagate": False}},
    }
    logging.config.dictConfig(config)
    log = logging.getLogger("shop.orders")
    log.setLevel(logging.DEBUG)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            log.debug("not wanted")
            log.warning("wanted")
        async with app.bus.events("app.*", start="earliest") as events:
            event = await anext(events)
    log.handlers.pop().close()
    assert (event.topic, event.payload["message"]) == ("app.log.shop.orders", "WARNING: wanted")


async def test_hostile_records_are_cut_to_what_an_event_holds(log: logging.Logger) -> None:
    handler = handle(log)
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            extra = {f"k{n}\ud800": "\0" * 9000 for n in range(60)}
            log.info("\ud800" + "\0" * 500_000, extra={**extra, "big": 2**80})
            await until(lambda: handler.published + handler.dropped == 1)
        assert handler.published == 1


@given(st.text(max_size=300))
def test_every_loggers_name_has_a_topic(name: str) -> None:
    assert check_topic(topic_of("log", name)).startswith("log.")


@pytest.mark.parametrize("options", [{"topic": "a..b"}, {"capacity": 0}])
def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises((InvalidTopic, ValueError)):
        BusHandler(**options)


PROGRAM = """
import asyncio, logging, threading
import antiphon
from antiphon.bridges.logging import BusHandler, publishing_logs
logging.basicConfig(level=logging.DEBUG, handlers=[BusHandler()])
stop = threading.Event()
def chatter():
    while not stop.wait(0.0001):
        logging.info("on and on")
thread = threading.Thread(target=chatter)
thread.start()
async def main():
    async with antiphon.open() as app:
        with publishing_logs(app.bus):
            while app.bus.head < 20:
                await asyncio.sleep(0)
asyncio.run(main())
logging.info("after the loop")
threading.Timer(0.05, stop.set).start()
import atexit
atexit.register(lambda: logging.info("at exit"))
"""


def test_a_program_that_logs_to_its_last_moment_ends_in_order() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_closing_from_another_thread_is_safe(log: logging.Logger) -> None:
    handler = handle(log)
    thread = threading.Thread(target=handler.close)
    thread.start()
    thread.join()
    log.info("dropped")
    assert handler.dropped == 1
