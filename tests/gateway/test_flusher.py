"""When frames are written, on a loop whose turns and time are moved by hand."""

from __future__ import annotations

from collections.abc import Callable

from antiphon.gateway.flusher import FLUSH_S, TURN_FRAMES, Flusher


class Loop:
    """Calls what is due, when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._soon: list[Callable[[], None]] = []
        self._later: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[[], None], /) -> object:
        self._soon.append(call)
        return call

    def call_at(self, when: float, call: Callable[[], None], /) -> object:
        self._later.append((when, call))
        return call

    def turn(self) -> None:
        """One turn of the loop, as asyncio does it: what is added meanwhile is for the next."""
        due = [call for when, call in self._later if when <= self.now]
        self._later = [(when, call) for when, call in self._later if when > self.now]
        calls, self._soon = [*self._soon, *due], []
        for call in calls:
            call()

    def rest(self) -> None:
        """Turn until nothing is left to do now."""
        while self._soon or any(when <= self.now for when, _ in self._later):
            self.turn()


class Socket:
    """Somebody with so many frames to write."""

    def __init__(self, name: str, log: list[str], frames: int = 1) -> None:
        self.name = name
        self.log = log
        self.frames = frames

    def write_one(self) -> bool:
        if self.frames:
            self.frames -= 1
            self.log.append(self.name)
        return self.frames > 0


def test_the_first_after_a_quiet_time_waits_for_nothing_and_the_next_for_ten_milliseconds() -> None:
    loop, log = Loop(), []
    flusher, socket = Flusher(loop), Socket("a", log)
    flusher.gather(socket)
    loop.rest()
    assert log == ["a"]
    socket.frames = 1
    flusher.gather(socket)
    loop.now += FLUSH_S * 0.9
    loop.rest()
    assert log == ["a"]
    loop.now += FLUSH_S * 0.2
    loop.rest()
    assert log == ["a", "a"]


def test_answers_wait_for_nothing() -> None:
    loop, log = Loop(), []
    flusher, socket = Flusher(loop), Socket("a", log)
    flusher.gather(socket)
    loop.rest()
    socket.frames = 1
    flusher.soon(socket)
    loop.rest()
    assert log == ["a", "a"]


def test_all_are_written_side_by_side_frame_by_frame() -> None:
    """Whoever has more writes it at once, and behind the others."""
    loop, log = Loop(), []
    flusher = Flusher(loop)
    for name, frames in (("a", 3), ("b", 1), ("c", 2)):
        flusher.gather(Socket(name, log, frames))
    loop.rest()
    assert log == ["a", "b", "c", "a", "c", "a"]


def test_the_loop_has_a_turn_after_so_many_frames() -> None:
    loop, log = Loop(), []
    flusher = Flusher(loop)
    for n in range(TURN_FRAMES + 10):
        flusher.gather(Socket(f"s{n}", log))
    loop.turn()  # the flush begins
    loop.turn()
    assert len(log) == TURN_FRAMES
    loop.turn()
    assert len(log) == TURN_FRAMES + 10


def test_whoever_has_ended_writes_nothing() -> None:
    loop, log = Loop(), []
    flusher, socket = Flusher(loop), Socket("a", log)
    flusher.gather(socket)
    flusher.forget(socket)
    loop.rest()
    assert log == []


def test_who_asks_often_writes_no_more_often_than_others() -> None:
    """Each answer asks for a turn; somebody with many to come must not crowd out the rest."""
    loop, log = Loop(), []
    flusher = Flusher(loop)
    busy, quiet = Socket("busy", log, 100), Socket("quiet", log, 100)
    flusher.gather(busy)
    flusher.gather(quiet)
    for _ in range(50):
        flusher.soon(busy)
    loop.rest()
    assert log[:100].count("quiet") >= 49
