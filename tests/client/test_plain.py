"""``antiphon.connect_sync`` against a real server: threads, Ctrl-C, and programs that forget."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import antiphon
from antiphon.client.plain import PlainBus
from antiphon.errors import BusClosed, Forbidden, InvalidTopic, Unauthorized

from .conftest import House

SOURCES = Path(antiphon.__file__).parents[1]


@pytest.fixture
def bus(house: House) -> Iterator[PlainBus]:
    with antiphon.connect_sync(house.url, house.token) as bus:
        yield bus


def program(code: str, house: House) -> subprocess.Popen[str]:
    begin = f"import sys; sys.path.insert(0, {str(SOURCES)!r}); import antiphon\n"
    connect = f"antiphon.connect_sync({house.url!r}, {house.token!r})"
    return subprocess.Popen(
        [sys.executable, "-u", "-W", "error", "-c", begin + code.replace("CONNECT", connect)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_is_published_is_followed_found_and_counted(bus: PlainBus) -> None:
    with bus.subscribe("plainshop.*", start="earliest") as events:
        told = bus.publish("plainshop.tea", 1)
        event = next(events)
        assert (event.seq, event.payload) == (told.seq, 1)
    later = bus.publish_nowait("plainshop.milk", 2)
    bus.flush()
    assert later.result(5).seq is not None
    assert bus.event(told.seq or 0) == event
    assert [found.payload for found in bus.history("plainshop.*", limit=1)] == [1, 2]
    assert bus.query("plainshop.*", order="desc", limit=1).events[0].payload == 2
    assert [info.name for info in bus.topics("plainshop.*")] == ["plainshop.milk", "plainshop.tea"]


def test_a_refusal_is_raised_where_it_was_asked(bus: PlainBus, house: House) -> None:
    with pytest.raises(InvalidTopic):
        bus.publish("a..b")
    with pytest.raises(InvalidTopic):
        bus.publish_nowait("a..b").result(5)
    with antiphon.connect_sync(house.url, house.issue("pat", "ann.*")) as other:
        with pytest.raises(Forbidden):
            next(other.subscribe("bob.*"))
        with pytest.raises(Unauthorized):
            other.refresh("nonsense")
        other.refresh(house.issue("pat", "ann.*", "bob.*", replace=True, overlap_s=60))
        assert other.publish("bob.a").seq
    with pytest.raises(Unauthorized):
        antiphon.connect_sync(house.url, "wrong").__enter__()


def test_threads_share_one_client(bus: PlainBus) -> None:
    found: list[list[int]] = [[], []]

    def work(number: int) -> None:
        with bus.subscribe(f"thread.{number}", start="earliest") as events:
            for n in range(50):
                bus.publish(f"thread.{number}", n)
                found[number].append(next(events).payload)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [list(range(50))] * 2


def test_who_waits_no_longer_is_told_and_may_go_on(bus: PlainBus) -> None:
    with bus.subscribe("slow.*", start="earliest", timeout=0.02) as events:
        with pytest.raises(TimeoutError):
            next(events)
        bus.publish("slow.a", "late")
        assert next(events_within(events)).payload == "late"


def events_within(events: Iterator[antiphon.Event]) -> Iterator[antiphon.Event]:
    """The same, but patient."""
    for _ in range(500):
        try:
            yield next(events)
        except TimeoutError:
            continue


def test_an_event_that_is_given_back_comes_again_and_the_rest_is_done(bus: PlainBus) -> None:
    bus.publish("plainmail.a", 0)
    with bus.subscribe("plainmail.*", durable="plain", start="earliest") as events:
        assert next(events).payload == 0
        events.nack(delay=0)
        assert next(events).payload == 0
        assert events.attempt == 2
        events.ack()
        bus.publish("plainmail.a", 1)
        assert next(events).payload == 1
    with bus.subscribe(durable="plain") as events:
        bus.publish("plainmail.a", 2)
        assert next(events).payload == 2, "all was done when the block ended without an error"


def test_closing_ends_who_waits_in_another_thread(house: House) -> None:
    bus = antiphon.connect_sync(house.url, house.token)
    with bus:
        events = bus.subscribe("never.*")
        seen: list[list[antiphon.Event]] = []
        reader = threading.Thread(target=lambda: seen.append(list(events)))
        reader.start()
        bus.publish("opened.mark")
        bus.close()
        reader.join(10)
    assert seen == [[]]
    bus.close()
    assert list(events) == []
    with pytest.raises(BusClosed):
        bus.publish("never.a")
    with pytest.raises(BusClosed):
        antiphon.connect_sync(house.url).publish("never.a")


def test_a_program_that_forgets_to_close_ends(house: House) -> None:
    forgot = program(
        "bus = CONNECT.__enter__()\nbus.subscribe('a.*')\nprint(bus.publish('a.b').level)", house
    )
    out, err = forgot.communicate(timeout=30)
    assert (forgot.returncode, out, err) == (0, "synced\n", "")


def test_ctrl_c_interrupts_who_waits_for_an_event(house: House) -> None:
    code = """
with CONNECT as bus, bus.subscribe('never.*') as events:
    bus.publish('opened.mark')
    try:
        print('waiting')
        next(events)
    except KeyboardInterrupt:
        print('interrupted', bus.publish('after.it').level)
"""
    waiting = program(code, house)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waiting\n"
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (0, "interrupted synced\n", "")
