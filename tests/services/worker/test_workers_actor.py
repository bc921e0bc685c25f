"""Workers from the outside: requests in, events out, on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from antiphon.actors import ActorSystem, Supervisor
from antiphon.errors import BadRequest, NotFound, StorageUnavailable
from antiphon.messages import WorkerStart
from antiphon.services.worker import worker_services
from antiphon.services.worker.records import End, Record, Records

from .harness import ENDS, Desk, MemoryLog, alive, open_desk, until


class FastClock:
    """Real time, *times* as fast."""

    def __init__(self, times: float) -> None:
        self._times = times

    def now(self) -> float:
        return asyncio.get_running_loop().time() * self._times

    def call_later(self, delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay / self._times, callback, *args)


# --- from start to end ----------------------------------------------------------------------


async def test_a_command_is_told_from_its_start_to_its_end(desk: Desk) -> None:
    """Spawned, its lines, complete: in this order, all with the run as correlation id."""
    info = await desk.sh("echo one; echo two >&2; printf three", name="build")
    assert (info.id, info.state, info.argv[0]) == ("build", "starting", "sh")

    kind, payload = await desk.end(info)
    assert (kind, payload["exit_code"], payload["starts"]) == ("complete", 0, 1)
    events = desk.events(info)
    assert events[0]["topic"] == "worker.build.spawned"
    assert events[0]["type"] == "worker_spawned"
    assert events[0]["source"] == "/workers/build"
    assert events[-1]["topic"] == "worker.build.complete"
    assert desk.lines(info) == ["one", "three"]
    assert desk.lines(info, "stderr") == ["two"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 3", {"exit_code": 3}), ("kill -9 $$", {"signal": 9}), ("kill -15 $$", {"signal": 15})],
)
async def test_an_exit_code_or_a_signal_is_a_failure(
    desk: Desk, script: str, expected: dict[str, int]
) -> None:
    kind, payload = await desk.end(await desk.sh(script))
    assert kind == "failed"
    assert {name: payload.get(name) for name in expected} == expected
    assert "reason" not in payload
    assert "background" not in payload


@pytest.mark.parametrize(
    ("argv", "reason", "code", "message"),
    [
        (["no-such-program"], "not_found", 127, "not found: no-such-program"),
        (["/no/prog"], "not_found", 127, "not found: /no/prog (or the interpreter that it names)"),
        (["/etc/passwd"], "not_executable", 126, "not executable: /etc/passwd: permission denied"),
    ],
)
async def test_a_command_that_cannot_start_fails_with_a_clear_reason(
    desk: Desk, argv: list[str], reason: str, code: int, message: str
) -> None:
    """The start is answered; the event says why, and is not tried again by any policy."""
    info = await desk.start(*argv, restart="always")
    kind, payload = await desk.end(info)
    assert kind == "failed"
    assert (payload["reason"], payload["exit_code"], payload["message"]) == (reason, code, message)
    await desk.quiet()


async def test_a_worker_is_listed_while_it_lives(desk: Desk) -> None:
    first = await desk.sh("echo a; echo b; exec sleep 100", name="first")
    second = await desk.start("sleep", "100", restart="on-failure")
    await desk.saw(first, "progress")
    spawned = await desk.saw(second, "spawned")

    a, b = await desk.list()
    assert (a.id, a.state, a.lines, a.starts) == ("first", "running", 2, 1)
    assert (b.id, b.run, b.pid, b.restart) == (second.id, second.run, spawned["pid"], "on-failure")
    assert len(b.id) == 8

    await desk.stop(a.id)
    await desk.stop(b.id)
    await desk.quiet()
    assert not alive(spawned["pid"])


async def test_a_stopped_worker_is_cancelled_and_ends_by_the_ladder(desk: Desk) -> None:
    """Stopping answers at once and may be repeated; the end is one event."""
    info = await desk.start("sleep", "100", restart="always")
    await desk.saw(info, "spawned")
    assert (await desk.stop(info.id)).state == "stopping"
    await desk.stop(info.id)
    assert await desk.end(info) == ("cancelled", {"signal": 1, "starts": 1, **_ran(desk, info)})
    await desk.quiet()
    with pytest.raises(NotFound, match=f"no living worker is named {info.id}"):
        await desk.stop(info.id)


def _ran(desk: Desk, info: Any) -> dict[str, int]:
    return {"ran_ms": desk.payloads(info, *ENDS)[0]["ran_ms"]}


async def test_a_cancelled_worker_is_told_when_nothing_of_it_is_left(desk: Desk) -> None:
    """Its background child ignores SIGHUP: the event comes after that one's end by SIGTERM."""
    info = await desk.sh("(trap '' HUP; sleep 100) & echo $!; wait")
    await desk.saw(info, "progress")
    (pid,) = map(int, desk.lines(info))
    await desk.stop(info.id)
    kind, payload = await desk.end(info, 4)
    assert not alive(pid)
    assert (kind, payload["signal"], payload.get("background")) == ("cancelled", 1, None)


async def test_a_worker_stopped_at_once_after_its_start_is_cancelled(desk: Desk) -> None:
    info = await desk.start("sleep", "100")
    await desk.stop(info.id)
    assert (await desk.end(info))[0] == "cancelled"
    await desk.quiet()


async def test_many_workers_run_at_once_and_each_ends_once(desk: Desk) -> None:
    infos = [await desk.sh(f"echo {n}; exit {n}") for n in range(25)]
    for n, info in enumerate(infos):
        assert (await desk.end(info))[1]["exit_code"] == n
        assert desk.lines(info) == [str(n)]
    await desk.quiet()
    assert list((desk.folder / "workers").iterdir()) == []


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"argv": []}, r"argv must begin with a program, got \[\]"),
        ({"argv": [""]}, "argv must begin with a program"),
        ({"argv": ["a", "b\0c"]}, r"argv may not contain NUL, but part 1 does: b\\x00c"),
        ({"argv": ["\ud800"]}, "argv must be valid Unicode, but part 0 isn't"),
        ({"argv": ["x" * 200_000]}, "argv may have 131072 bytes, got 200001"),
        ({"cwd": "here"}, "cwd must be an absolute path, got 'here'"),
        ({"cwd": "/etc/passwd"}, "cwd must be a folder, /etc/passwd is none"),
        ({"cwd": "/no/such"}, "cwd must be a folder, /no/such is none"),
        ({"name": "a.b"}, "name must be 1 to 64 letters, digits, _ or -, got 'a.b'"),
        ({"name": ""}, "name must be 1 to 64"),
        ({"name": "x" * 65}, "name must be 1 to 64"),
        ({"env": {"A=B": "secret"}}, "env has a name .*: 'A=B'"),
        ({"env": {"A": "sec\0ret"}}, "the value of env A contains NUL"),
        ({"max_output_bytes": -1}, "max_output_bytes must be at least 0, got -1"),
        ({"correlation_id": ""}, "correlation_id must be 1 to 200"),
    ],
)
async def test_a_bad_request_is_refused_with_the_value_and_the_rule(
    desk: Desk, fields: dict[str, Any], message: str
) -> None:
    """Nothing is started, nothing is written; values of the environment are never shown."""
    argv = fields.pop("argv", ["true"])
    with pytest.raises(BadRequest, match=message) as caught:
        await desk.start(*argv, **fields)
    assert "secret" not in str(caught.value)
    assert desk.log.events == []
    assert await desk.list() == []


async def test_a_name_is_unique_among_the_living_and_free_after_the_end(desk: Desk) -> None:
    info = await desk.start("sleep", "100", name="one")
    with pytest.raises(BadRequest, match="the name one is in use by a living worker"):
        await desk.start("true", name="one")
    await desk.stop(info.id)
    await desk.quiet()
    again = await desk.start("true", name="one")
    assert again.run != info.run
    assert (await desk.end(again))[0] == "complete"


async def test_more_workers_than_the_limit_are_refused(tmp_path: Path, log: MemoryLog) -> None:
    async with open_desk(tmp_path, log, max_workers=2) as desk:
        first = await desk.start("sleep", "100")
        await desk.start("sleep", "100")
        with pytest.raises(BadRequest, match="at most 2 workers may live at once") as caught:
            await desk.start("true")
        assert caught.value.limit == 2
        await desk.stop(first.id)
        await until(lambda: desk.events(first, "cancelled"))


async def test_a_folder_that_cannot_be_written_refuses_the_start(desk: Desk) -> None:
    """No file, no worker: else a crash would forget it."""
    (desk.folder / "workers").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="cannot write the file of x"):
        await desk.start("true", name="x")
    assert await desk.list() == []


# --- the environment ------------------------------------------------------------------------


async def test_the_environment_is_the_given_one_and_three_fallbacks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else of the server's own gets through, its token never."""
    monkeypatch.setenv("ANTIPHON_TOKEN", "t")
    monkeypatch.setenv("PRIVATE", "p")
    monkeypatch.delenv("LANG", raising=False)
    info = await desk.start("env", env={"A": "secret-ä", "HOME": "/h", "ANTIPHON_TOKEN": "u"})
    await desk.end(info)
    path = os.environ["PATH"]
    assert sorted(desk.lines(info)) == ["A=secret-ä", "HOME=/h", "LANG=C.UTF-8", f"PATH={path}"]


async def test_values_of_the_environment_stay_out_of_events(desk: Desk) -> None:
    """They stand in the worker's file alone, which only its owner can read."""
    info = await desk.start("sleep", "100", name="w", env={"KEY": "secret"})
    await desk.saw(info, "spawned")
    file = desk.folder / "workers" / "w.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert "secret" in file.read_text()
    await desk.stop("w")
    await desk.quiet()
    assert "secret" not in str(desk.log.events)
    assert not file.exists()


async def test_a_correlation_id_of_the_caller_is_told(desk: Desk) -> None:
    info = await desk.start("true", correlation_id="job-7")
    assert (await desk.saw(info, "spawned"))["correlation_id"] == "job-7"
    assert (await desk.end(info))[0] == "complete"


async def test_a_very_long_command_line_is_cut_in_its_event(desk: Desk) -> None:
    info = await desk.start("true", "x" * 100_000)
    argv = (await desk.saw(info, "spawned"))["argv"]
    assert argv[0] == "true"
    assert 8000 < len(argv[1]) < 8300
    assert (await desk.end(info))[0] == "complete"


# --- output ---------------------------------------------------------------------------------


async def test_no_line_is_lost_and_each_is_numbered(desk: Desk) -> None:
    """20,000 lines come out in order; the batches' numbers join without a hole."""
    info = await desk.start("seq", "20000")
    await desk.end(info)
    assert desk.lines(info) == [str(n) for n in range(1, 20001)]
    at = 1
    for batch in desk.payloads(info, "progress"):
        assert batch["from_line"] == at
        at += len(batch["lines"])


async def test_strange_bytes_become_text(desk: Desk) -> None:
    """A character that arrives in two reads is whole; what isn't UTF-8 becomes U+FFFD."""
    script = r"printf '\342\202'; sleep 0.15; printf '\254\n\377\000x\n'"
    info = await desk.sh(script)
    await desk.end(info)
    assert desk.lines(info) == ["€", "�\0x"]


async def test_a_line_over_16_kib_is_split(desk: Desk) -> None:
    info = await desk.sh("head -c 40000 /dev/zero | tr '\\0' x; echo; echo end")
    await desk.end(info)
    assert [len(line) for line in desk.lines(info)] == [16384, 16384, 7232, 3]


async def test_a_slow_log_slows_the_command_down(desk: Desk) -> None:
    """While one batch waits for the log, the pipe is left unread; later all of it comes."""
    go = desk.folder / "go"
    info = await desk.sh(f"while [ ! -e {go} ]; do sleep 0.01; done; seq 60000; echo done >&2")
    await desk.saw(info, "spawned")
    desk.log.gate = asyncio.get_running_loop().create_future()
    go.touch()
    assert await _stalled(desk) < 20_000
    assert desk.lines(info) == []
    desk.log.gate.set_result(None)
    assert (await desk.end(info))[0] == "complete"
    assert desk.lines(info) == [str(n) for n in range(1, 60001)]


async def _stalled(desk: Desk) -> int:
    """How many lines have been read, once no more are, for a fifth of a second."""
    seen, since = 0, 0.0
    loop = asyncio.get_running_loop()
    while not seen or loop.time() - since < 0.2:
        (living,) = await desk.list()
        if living.lines != seen:
            seen, since = living.lines, loop.time()
        await asyncio.sleep(0.01)
    return seen


async def test_events_that_the_log_refuses_are_tried_again_with_the_same_id(desk: Desk) -> None:
    """Full disk: nothing is lost, nothing comes twice, the order stays."""
    desk.log.refusals = 4
    info = await desk.sh("seq 5; exit 2")
    assert (await desk.end(info))[1]["exit_code"] == 2
    assert len(desk.log.refused) == 4
    assert set(desk.log.refused) <= {event["id"] for event in desk.log.events}
    assert desk.events(info)[0]["type"] == "worker_spawned"
    assert desk.lines(info) == ["1", "2", "3", "4", "5"]


async def test_above_1_mib_a_second_the_command_waits(desk: Desk) -> None:
    """1 MiB may come at once; the next 1.2 MiB take more than a second."""
    info = await desk.sh("yes 0123456789abcdef0123456789abcde | head -c 2306848")
    began = asyncio.get_running_loop().time()
    await desk.end(info)
    assert asyncio.get_running_loop().time() - began > 1.1
    assert len(desk.lines(info)) == 2306848 // 32


async def test_tail_folds_a_flood_into_a_few_events(desk: Desk) -> None:
    """``yes`` fills neither log nor memory, and every line is counted."""
    info = await desk.sh("yes | head -n 2500000; echo last", output="tail")
    await desk.end(info)
    batches = desk.payloads(info, "progress")
    assert len(batches) <= 5
    assert all(len(batch["lines"]) <= 20 for batch in batches)
    told = sum(len(batch["lines"]) + batch.get("skipped_lines", 0) for batch in batches)
    assert told == 2_500_001
    skipped = sum(batch.get("skipped_bytes", 0) for batch in batches)
    assert skipped + sum(len(line) + 1 for b in batches for line in b["lines"]) == 5_000_005
    assert batches[-1]["lines"][-1] == "last"


async def test_output_past_the_limit_is_folded(desk: Desk) -> None:
    """Up to max_output_bytes every line is kept, from there on the newest."""
    info = await desk.sh("seq 100000", max_output_bytes=50_000)
    await desk.end(info)
    batches = desk.payloads(info, "progress")
    kept = [line for b in batches if "skipped_lines" not in b for line in b["lines"]]
    assert 50_000 < sum(len(line) + 1 for line in kept) < 90_000
    told = sum(len(batch["lines"]) + batch.get("skipped_lines", 0) for batch in batches)
    assert told == 100_000
    assert batches[-1]["lines"][-1] == "100000"


# --- what stays behind ----------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["", ">/dev/null 2>&1"])
async def test_a_background_child_does_not_delay_the_end_and_does_not_survive_it(
    desk: Desk, hold: str
) -> None:
    """With or without the pipe in its hands: 250 ms, ``background``, then the ladder."""
    info = await desk.sh(f"trap '' HUP; sleep 100 {hold} & echo $! >&2; echo bye; exit 0")
    kind, payload = await desk.end(info, 2)
    assert (kind, payload["exit_code"], payload["background"]) == ("complete", 0, True)
    assert desk.lines(info) == ["bye"]
    (pid,) = map(int, desk.lines(info, "stderr"))
    await desk.quiet(4)
    assert not alive(pid)


async def test_a_background_flood_does_not_delay_the_end(desk: Desk) -> None:
    """What the command itself wrote is told, however much its child goes on writing."""
    info = await desk.sh("echo mine >&2; yes & exit 4", output="tail")
    kind, payload = await desk.end(info, 3)
    assert (kind, payload["exit_code"], payload["background"]) == ("failed", 4, True)
    assert desk.lines(info, "stderr") == ["mine"]
    await desk.quiet(7)


# --- again and again ------------------------------------------------------------------------


async def test_a_failing_command_is_started_again_with_growing_delays(
    tmp_path: Path, log: MemoryLog
) -> None:
    """On failure: after 1 s, 2 s, 4 s …, each start an event, the end only one."""
    counter = tmp_path / "counter"
    script = f"echo x >> {counter}; echo run; [ $(wc -l < {counter}) -ge 4 ]"
    async with ActorSystem("desk", clock=FastClock(20)) as system:
        await system.supervise(Supervisor(worker_services(log, tmp_path)), name="services")
        desk = Desk(system, log, tmp_path)
        info = await desk.sh(script, restart="on-failure")
        kind, payload = await desk.end(info)
        assert (kind, payload["exit_code"], payload["starts"]) == ("complete", 0, 4)
        assert [p["start"] for p in desk.payloads(info, "spawned")] == [1, 2, 3, 4]
        again = desk.payloads(info, "restarting")
        assert [p["delay_ms"] for p in again] == [1000, 2000, 4000]
        assert {p["exit_code"] for p in again} == {1}
        lines = [(b["from_line"], b["lines"]) for b in desk.payloads(info, "progress")]
        assert lines == [(n, ["run"]) for n in (1, 2, 3, 4)]


async def test_always_starts_again_after_success_until_it_is_stopped(
    tmp_path: Path, log: MemoryLog
) -> None:
    """Stopped while it waits, it is cancelled at once."""
    async with open_desk(tmp_path, log) as desk:
        info = await desk.sh("sleep 100 & exit 0", restart="always")
        told = await desk.saw(info, "restarting")
        assert (told["exit_code"], told["background"], told["delay_ms"]) == (0, True, 1000)
        await until(lambda: not desk.events(info, *ENDS))
        while (await desk.list())[0].state != "waiting":
            await asyncio.sleep(0.01)
        await desk.stop(info.id)
        kind, payload = await desk.end(info, 0.5)
        assert (kind, payload["exit_code"], payload["starts"]) == ("cancelled", 0, 1)


# --- deaths ---------------------------------------------------------------------------------


async def test_killing_the_actor_of_a_worker_ends_its_command(desk: Desk) -> None:
    """The session goes by the ladder, and the end is told."""
    info = await desk.start("sleep", "100", name="w")
    pid = (await desk.saw(info, "spawned"))["pid"]
    actor = desk.system.lookup("services/workers/w")
    assert actor is not None
    actor.kill()
    assert await desk.end(info) == ("failed", {"reason": "actor_killed", "starts": 1})
    await until(lambda: not alive(pid))
    await desk.quiet()


async def test_stopping_the_actor_of_a_worker_ends_its_command_too(desk: Desk) -> None:
    info = await desk.start("sleep", "100", name="w")
    await desk.saw(info, "spawned")
    actor = desk.system.lookup("services/workers/w")
    assert actor is not None
    actor.stop()
    kind, payload = await desk.end(info)
    assert (kind, payload["reason"], payload["signal"]) == ("cancelled", "server_stopped", 1)
    await desk.quiet()


async def test_when_the_keeper_dies_its_workers_end_and_it_is_replaced(desk: Desk) -> None:
    """Failed by keeper_lost, no process left; what is always to run runs again."""
    one = await desk.start("sleep", "100", name="one")
    two = await desk.start("sleep", "100", name="two", restart="always")
    pids = [(await desk.saw(info, "spawned"))["pid"] for info in (one, two)]
    old = desk.keeper()
    os.kill(old, signal.SIGKILL)
    for info in (one, two):
        kind, payload = await desk.end(info)
        assert (kind, payload["reason"]) == ("failed", "keeper_lost")
    await until(lambda: not any(map(alive, pids)))

    def ran_again() -> list[Any]:
        return [e for e in desk.log.events if e["topic"] == "worker.two.spawned"][1:]

    (spawned,) = await until(ran_again)
    assert spawned["correlation_id"] != two.run
    assert desk.keeper() != old
    await desk.stop("two")
    await desk.quiet()


async def test_starts_around_the_keepers_death_end_too(desk: Desk) -> None:
    """Done by the next keeper, or lost with the old one, and never run twice."""
    os.kill(desk.keeper(), signal.SIGSTOP)
    infos = [await desk.sh("echo alive")]
    os.kill(desk.keeper(), signal.SIGKILL)
    infos += [await desk.sh("echo alive") for _ in range(10)]
    for info in infos:
        kind, payload = await desk.end(info)
        assert (kind, payload.get("reason")) in (("failed", "keeper_lost"), ("complete", None))
        assert desk.lines(info) == ["alive"] * (kind == "complete")
    assert kind == "complete"


async def test_when_the_workers_actor_dies_each_worker_gets_its_end(desk: Desk) -> None:
    """Its next generation finds the files: killed, and started again where always."""
    one = await desk.start("sleep", "100", name="one")
    two = await desk.start("sleep", "100", name="two", restart="always")
    pids = [(await desk.saw(info, "spawned"))["pid"] for info in (one, two)]
    desk.workers.kill()
    for info in (one, two):
        assert (await desk.end(info))[1]["reason"] == "actor_killed"
    await until(lambda: not any(map(alive, pids)))
    await until(lambda: sum(e["topic"] == "worker.two.spawned" for e in desk.log.events) == 2)
    assert [info.id for info in await desk.list()] == ["two"]


async def test_a_stopping_server_sees_its_workers_off(tmp_path: Path, log: MemoryLog) -> None:
    """All at once, last words included; always means: again at the next start."""
    async with open_desk(tmp_path, log) as desk:
        script = "trap 'echo bye; exit 5' HUP; echo hi; while :; do sleep 0.05; done"
        infos = [await desk.sh(script, name=f"w{n}") for n in range(8)]
        always = await desk.start("sleep", "100", name="always", restart="always")
        for info in infos:
            await desk.saw(info, "progress")
        await desk.saw(always, "spawned")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 3
    for info in infos:
        kind, payload = await desk.end(info)
        assert (kind, payload["reason"], payload["exit_code"]) == ("cancelled", "server_stopped", 5)
        assert desk.lines(info) == ["hi", "bye"]
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["always.json"]

    async with open_desk(tmp_path, log) as desk:
        (again,) = await _listed(desk)
        assert (again.id, again.run != always.run) == ("always", True)
        assert (await desk.saw(again, "spawned"))["restart"] == "always"
        assert len(desk.events(always, *ENDS)) == 1
        await desk.stop("always")
        await desk.quiet()
    assert list((tmp_path / "workers").iterdir()) == []


async def _listed(desk: Desk) -> list[Any]:
    for _ in range(500):
        if found := await desk.list():
            return found
        await asyncio.sleep(0.01)
    return []


async def test_a_lost_server_is_told_once_at_the_next_start(tmp_path: Path, log: MemoryLog) -> None:
    """Each file without an end: server_lost, exactly once; where always, started again."""
    records = Records(tmp_path / "workers")
    lost = Record(id="lost", run="run-1", start=_start("lost"))
    again = Record(id="again", run="run-2", start=_start("again", restart="always"))
    ended = Record(id="ended", run="run-3", start=_start("ended", restart="always"))
    half = End(kind="cancelled", payload={"signal": 1}, id="half-told")
    halfway = Record(id="halfway", run="run-4", start=_start("halfway"), end=half)
    for record in (lost, again, ended, halfway):
        records.write(record)
    (tmp_path / "workers" / "torn.json").write_text('{"id":')
    await log.publish_event("worker.ended.complete", {}, id="x", correlation_id="run-3")
    await log.publish_event("worker.halfway.cancelled", {}, id="half-told", correlation_id="run-4")

    for _ in range(2):
        async with open_desk(tmp_path, log) as desk:
            (living,) = await _listed(desk)
            assert living.id == "again"
            await desk.saw(living, "spawned")
            with pytest.raises(BadRequest, match="the name again is in use"):
                await desk.start("true", name="again")

    told = [(e["topic"], e["correlation_id"]) for e in log.events if e["payload"] == LOST]
    assert sorted(told) == [("worker.again.failed", "run-2"), ("worker.lost.failed", "run-1")]
    assert sum(e["correlation_id"] == "run-3" for e in log.events) == 1
    assert sum(e["correlation_id"] == "run-4" for e in log.events) == 1
    left = {path.name for path in (tmp_path / "workers").iterdir()}
    assert left == {"again.json", "torn.broken"}


LOST = {"reason": "server_lost"}


def _start(name: str, **fields: Any) -> WorkerStart:
    return WorkerStart(argv=["sleep", "100"], name=name, cwd="/", **fields)
