"""The keeper with real processes: starting, ending, and dying itself."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.services.worker import keeper as keeper_module
from antiphon.services.worker import keeper_main
from antiphon.services.worker.keeper import Exited, Keeper, KeeperLost, Refused, Session, Started
from antiphon.services.worker.keeper_main import descendants, members, processes

from .harness import alive, until

ENV = {"PATH": os.environ["PATH"], "MARK": "ä"}


@pytest.fixture
async def keeper() -> AsyncIterator[Keeper]:
    keeper = await Keeper.start()
    yield keeper
    assert await keeper.aclose()


async def said(session: Session, within: float = 5.0) -> bytes:
    """All of its stdout, to the end."""
    data = b""

    def more() -> bool:
        nonlocal data
        try:
            piece = os.read(session.stdout, 65536)
        except BlockingIOError:
            return False
        data += piece
        return not piece

    while not await until(more, within):
        pass
    return data


async def over(session: Session, within: float = 8.0) -> Exited:
    await asyncio.wait_for(asyncio.shield(session.empty), within)
    session.close()
    return session.exited.result()


async def test_a_command_gets_its_arguments_folder_and_environment_and_nothing_else(
    keeper: Keeper, tmp_path: Path
) -> None:
    """Exactly the given environment, empty stdin, no descriptor but the three."""
    program = (
        "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['MARK'], len(os.environ),"
        " sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd')), os.getsid(0) == os.getpid())"
    )
    argv = [sys.executable, "-S", "-X", "utf8", "-c", program, "a b", "ä"]
    session = keeper.launch(argv, cwd=str(tmp_path), env={**ENV, "LC_ALL": "C"})

    started = await session.started
    assert isinstance(started, Started)
    # 3 is the listing of the folder itself
    expected = f"['a b', 'ä'] {tmp_path} ä 3 True ['0', '1', '2', '3'] True\n"
    assert (await said(session)).decode() == expected
    assert await over(session) == Exited(code=0)


async def test_a_command_begins_with_every_signal_at_its_default(keeper: Keeper) -> None:
    """Neither the keeper's deafness nor Python's ignored SIGPIPE is inherited."""
    session = keeper.launch(["grep", "Sig[BI]", "/proc/self/status"], cwd="/", env=ENV)
    lines = (await said(session)).split(b"\n")[:-1]
    # 32 and 33 are the C library's own: nobody can set them, so nobody is asked to.
    own = 1 << 31 | 1 << 32
    assert [int(line.split()[1], 16) & ~own for line in lines] == [0, 0]
    await over(session)


@pytest.mark.parametrize(
    ("script", "exited"),
    [
        ("exit 0", Exited(code=0)),
        ("exit 7", Exited(code=7)),
        ("kill -9 $$", Exited(signal=9)),
        ("kill -TERM $$", Exited(signal=15)),
    ],
)
async def test_the_exit_code_or_signal_is_reported(
    keeper: Keeper, script: str, exited: Exited
) -> None:
    session = keeper.launch(["sh", "-c", script], cwd="/", env=ENV)
    assert await over(session) == exited


@pytest.mark.parametrize(
    ("argv", "cwd", "refused"),
    [
        (["no-such-program"], "/", Refused("exec", 2)),
        (["/etc/passwd"], "/", Refused("exec", 13)),
        (["true"], "/no/such/folder", Refused("cwd", 2)),
        (["true"], "/etc/passwd", Refused("cwd", 20)),
    ],
)
async def test_what_cannot_be_started_is_refused_with_the_reason(
    keeper: Keeper, argv: list[str], cwd: str, refused: Refused
) -> None:
    session = keeper.launch(argv, cwd=cwd, env=ENV)
    assert await session.started == refused
    assert (await over(session)).lost


async def test_stopping_ends_even_a_stopped_command_by_hangup(keeper: Keeper) -> None:
    """SIGCONT comes with SIGHUP, so a command under SIGSTOP ends too."""
    session = keeper.launch(["sleep", "100"], cwd="/", env=ENV)
    await session.started
    os.kill(session.leader, signal.SIGSTOP)
    session.stop()
    session.stop()
    assert await over(session, 1.5) == Exited(signal=signal.SIGHUP)


async def test_what_ignores_hangup_gets_term(keeper: Keeper) -> None:
    session = keeper.launch(["nohup", "sleep", "100"], cwd="/", env=ENV)
    await session.started
    await until(lambda: _cmdline(session.leader).startswith(b"sleep"))  # no longer nohup itself
    session.stop()
    assert await over(session, 4.0) == Exited(signal=signal.SIGTERM)


@pytest.mark.long
async def test_what_ignores_everything_is_killed_with_all_its_kin(keeper: Keeper) -> None:
    """A background child, a session of its own, a double fork: all are found and killed."""
    deaf = "trap '' HUP TERM; while :; do sleep 0.1; done"
    script = f'({deaf}) & (setsid sh -c "{deaf}" &) & echo ready; {deaf}'
    session = keeper.launch(["sh", "-c", script], cwd="/", env=ENV)
    await session.started
    loops = [session.leader]

    def all_there() -> bool:
        below = descendants(processes(), session.shim)
        loops[:] = [p.pid for p in below if b"sleep" not in _cmdline(p.pid)[:6]]
        return len({p.session for p in below}) >= 2 and len(loops) >= 3

    await until(all_there)
    session.stop()
    assert await over(session, 7.0) == Exited(signal=signal.SIGKILL)
    assert not any(map(alive, loops))


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"sleep"


async def test_a_session_is_not_empty_while_a_daemon_of_it_lives(keeper: Keeper) -> None:
    """After the exit of the command, what it left in the background is still its own."""
    script = "setsid sh -c 'sleep 100 >/dev/null 2>&1 &' & wait; exit 3"
    session = keeper.launch(["sh", "-c", script], cwd="/", env=ENV)
    await asyncio.wait_for(asyncio.shield(session.exited), 5)
    assert session.exited.result() == Exited(code=3)
    assert not session.empty.done()
    (daemon,) = members(session.shim, session.leader)
    session.stop()
    await over(session)
    assert not alive(daemon)


async def test_a_hundred_commands_leave_no_zombie_and_no_descriptor(keeper: Keeper) -> None:
    """After many short commands the keeper is as it was."""

    def fds() -> int:
        return len(os.listdir(f"/proc/{keeper.pid}/fd"))

    before = fds()
    for _ in range(5):
        sessions = [keeper.launch(["true"], cwd="/", env=ENV) for _ in range(20)]
        for session in sessions:
            assert await over(session) == Exited(code=0)
    await until(lambda: not [p for p in processes() if p.parent == keeper.pid])
    assert fds() == before


async def test_a_large_environment_arrives_whole(keeper: Keeper) -> None:
    """More than the socket takes at once is sent in pieces, the descriptors with the first."""
    env = {**ENV, **{f"V{n}": "x" * 100_000 for n in range(12)}}
    sessions = [
        keeper.launch(["sh", "-c", "echo ${#V0} ${#V11}"], cwd="/", env=env) for _ in range(3)
    ]
    for session in sessions:
        assert await said(session) == b"100000 100000\n"
        await over(session)


async def test_the_keeper_ignores_what_a_terminal_sends(keeper: Keeper) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(keeper.pid, number)
    session = keeper.launch(["true"], cwd="/", env=ENV)
    assert await over(session) == Exited(code=0)
    assert os.getsid(keeper.pid) == keeper.pid


async def test_a_cancelled_start_leaves_no_keeper() -> None:
    task = asyncio.create_task(Keeper.start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not descendants(processes(), os.getpid()))


async def test_closing_ends_every_session_and_then_the_keeper() -> None:
    keeper = await Keeper.start()
    session = keeper.launch(["sleep", "100"], cwd="/", env=ENV)
    await session.started
    assert await keeper.aclose()
    assert not alive(session.leader)
    assert (await over(session)).lost
    with pytest.raises(KeeperLost, match="nothing can be started"):
        keeper.launch(["true"], cwd="/", env=ENV)


async def test_a_killed_keeper_is_noticed_and_nothing_of_it_is_left() -> None:
    """Its sessions end as lost at once, and their processes are killed."""
    keeper = await Keeper.start()
    script = "trap '' HUP TERM; setsid sleep 100 & while :; do sleep 0.1; done"
    session = keeper.launch(["sh", "-c", script], cwd="/", env=ENV)
    await session.started
    await until(lambda: len(members(session.shim, session.leader)) >= 3)
    everything = members(session.shim, session.leader)
    os.kill(keeper.pid, signal.SIGKILL)
    assert await asyncio.wait_for(keeper.wait_lost(), 2) == "it ended"
    assert session.exited.result().lost
    await keeper.clean_up()
    await over(session, 1)
    await until(lambda: not any(map(alive, [*everything, session.shim])), 2)


async def test_a_killed_shim_takes_its_command_along(keeper: Keeper) -> None:
    """Whoever kills the shim ends the session; the keeper lives on."""
    script = "setsid sleep 100 & sleep 100 & wait"
    session = keeper.launch(["sh", "-c", script], cwd="/", env=ENV)
    await session.started
    await until(lambda: len(members(session.shim, session.leader)) == 3)
    everything = members(session.shim, session.leader)
    os.kill(session.shim, signal.SIGKILL)
    assert await over(session, 3) == Exited(shim_lost=True)
    assert not any(map(alive, everything))
    again = keeper.launch(["true"], cwd="/", env=ENV)
    assert await over(again) == Exited(code=0)


async def test_a_command_that_stops_its_shim_is_told_as_any_other(keeper: Keeper) -> None:
    """The shim is woken: an exit is reported, and a stop ends the command at once."""
    session = keeper.launch(["sh", "-c", "kill -STOP $PPID; exit 3"], cwd="/", env=ENV)
    assert await over(session) == Exited(code=3)
    script = "kill -STOP $PPID; echo stopped; exec sleep 100"
    session = keeper.launch(["sh", "-c", script], cwd="/", env=ENV)
    await until(lambda: _readable(session.stdout))
    session.stop()
    assert await over(session, 1.5) == Exited(signal=signal.SIGHUP)


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


async def test_a_stopped_shim_does_not_outlive_a_killed_keeper() -> None:
    """The kernel's word reaches it once it is woken."""
    keeper = await Keeper.start()
    session = keeper.launch(["sleep", "100"], cwd="/", env=ENV)
    await session.started
    os.kill(keeper.pid, signal.SIGSTOP)
    os.kill(session.shim, signal.SIGSTOP)
    os.kill(keeper.pid, signal.SIGKILL)
    await keeper.wait_lost()
    await keeper.clean_up()
    await over(session, 1)
    await until(lambda: not alive(session.leader) and not alive(session.shim), 2)


async def test_a_shim_that_never_wakes_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once nothing else is left: no session is stuck by its own shim."""
    hasty = (
        "keeper_main.os.WUNTRACED = 0",  # nobody tells that it was stopped
        "keeper_main.Ladder.STUCK_AFTER = 1.0",
    )
    source = PORTABLE.replace("keeper_main.LINUX = False", "\n".join(hasty))
    monkeypatch.setattr(keeper_module, "_spawn", lambda fd: _spawn(source, fd))
    keeper = await Keeper.start()
    session = keeper.launch(["sleep", "100"], cwd="/", env=ENV)
    await session.started
    os.kill(session.shim, signal.SIGSTOP)
    session.stop()
    assert await over(session, 8) == Exited(shim_lost=True)
    assert session.stuck == ()
    assert not alive(session.shim)
    assert await keeper.aclose()


PORTABLE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("keeper_main", sys.argv.pop(1))
keeper_main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keeper_main)
keeper_main.LINUX = False
keeper_main.main()
"""


def _spawn(program: str, fd: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-I", "-S", "-c", program, keeper_main.__file__, str(fd)]
    return subprocess.Popen(argv, pass_fds=(fd,), start_new_session=True)


@pytest.fixture
async def portable(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keeper]:
    """A keeper without /proc and subreapers, as on macOS."""

    monkeypatch.setattr(keeper_module, "_spawn", lambda fd: _spawn(PORTABLE, fd))
    monkeypatch.setattr(keeper_main, "LINUX", False)
    keeper = await Keeper.start()
    yield keeper
    await keeper.aclose()


async def test_without_subreapers_a_session_is_found_by_ps(portable: Keeper) -> None:
    """An orphan in the command's session is seen, waited for and killed."""
    script = "sh -c 'trap \"\" HUP; sleep 100 >&2 & echo $!'; exit 2"
    session = portable.launch(["sh", "-c", script], cwd="/", env=ENV)
    await session.started
    await asyncio.wait_for(asyncio.shield(session.exited), 5)
    orphan = int(os.read(session.stdout, 100))
    assert members(session.shim, session.leader) == [orphan]
    assert not session.empty.done()
    session.stop()
    assert await over(session, 4) == Exited(code=2)
    assert not alive(orphan)


async def test_without_subreapers_a_lost_keeper_leaves_nothing_either(portable: Keeper) -> None:
    session = portable.launch(["sh", "-c", "sleep 100 & sleep 100 & wait"], cwd="/", env=ENV)
    await session.started
    await until(lambda: len(members(session.shim, session.leader)) == 3)
    everything = members(session.shim, session.leader)
    os.kill(portable.pid, signal.SIGKILL)
    await asyncio.wait_for(portable.wait_lost(), 2)
    await portable.clean_up()
    await over(session, 1)
    await until(lambda: not any(map(alive, [*everything, session.shim])), 2)


HOST = """
import asyncio, os, sys
from antiphon.services.worker.keeper import Keeper

async def main():
    keeper = await Keeper.start()
    script = sys.argv[1]
    session = keeper.launch(["sh", "-c", script], cwd="/", env=dict(os.environ))
    await session.started
    print(keeper.pid, session.shim, session.leader, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


STOPS_ITS_SHIM = "while :; do kill -STOP $PPID; sleep 0.1; done &"


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("", id="deaf", marks=pytest.mark.long),
        pytest.param(STOPS_ITS_SHIM, id="stops its shim"),
    ],
)
def test_six_seconds_after_a_kill_9_of_the_server_nothing_is_left(first: str) -> None:
    """Even what ignores HUP and TERM, forks twice, has a session of its own, stops its shim."""
    script = (
        f"trap '' HUP TERM; {first} (setsid sh -c 'nohup sleep 100 &' &); while :; do sleep 1; done"
    )
    with subprocess.Popen([sys.executable, "-c", HOST, script], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        keeper, shim, leader = map(int, host.stdout.readline().split())
        asyncio.run(until(lambda: len(members(shim, leader)) >= 3))
        everything = members(shim, leader)
        host.kill()
    asyncio.run(until(lambda: not any(map(alive, [*everything, shim, keeper])), 6.0))
