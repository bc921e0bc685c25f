"""The inlet, in front of a protocol that counts each byte as a unit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from antiphon.gateway.inlet import PART_BYTES, TURN_UNITS, Inlet

Until = Callable[[Callable[[], bool]], Any]


class Wire:
    """A transport that is only read from."""

    def __init__(self) -> None:
        self.reading = True
        self.aborted = False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Taker:
    def __init__(self, **options: Any) -> None:
        self.wire = Wire()
        self.taken = b""
        self.inlet = Inlet(self.wire, handle=self.take, **options)  # type: ignore[arg-type]

    def take(self, part: bytes) -> int:
        self.taken += part
        return len(part)


async def test_others_have_a_turn_after_so_many_units_and_all_of_it_comes_in_order(
    until: Until,
) -> None:
    taker, turns = Taker(), 0
    data = bytes(n % 251 for n in range(20 * PART_BYTES))

    def turn() -> None:
        nonlocal turns
        turns += 1
        assert len(taker.taken) <= (turns + 1) * max(PART_BYTES, TURN_UNITS)
        if taker.taken != data:
            asyncio.get_running_loop().call_soon(turn)

    taker.inlet.feed(data)
    assert not taker.wire.reading
    turn()
    await until(lambda: taker.wire.reading)
    assert taker.taken == data
    assert turns >= 19


async def test_a_protocol_that_has_enough_gets_nothing_and_nothing_more_is_read(
    until: Until,
) -> None:
    taker = Taker()
    taker.inlet.pause_reading()
    taker.inlet.feed(b"abc")
    assert (taker.taken, taker.wire.reading) == (b"", False)
    taker.inlet.resume_reading()
    await until(lambda: taker.wire.reading)
    assert taker.taken == b"abc"


async def test_without_room_it_waits_until_it_is_told_to_go_on(until: Until) -> None:
    room = 2
    taker = Taker(room=lambda: max(0, room - len(taker.taken)))
    taker.inlet.feed(b"abcd")
    assert (taker.taken, taker.wire.reading) == (b"ab", False)
    room = 4
    taker.inlet.go_on()
    await until(lambda: taker.wire.reading)
    assert taker.taken == b"abcd"


async def test_what_came_before_the_loss_of_a_connection_is_handled() -> None:
    taker = Taker()
    taker.inlet.pause_reading()
    taker.inlet.feed(b"x" * 5000)
    taker.inlet.flush()
    assert len(taker.taken) == 5000
