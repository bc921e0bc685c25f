"""``backup``, ``export`` and ``import``, with a server and without one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Shell
from tests.cli.test_events import publish
from tests.stores.sqlite.damaged import content, make

from antiphon.app import core
from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.cli.archive import (
    LINE_BYTES,
    Import,
    Tally,
    backup,
    export,
    import_,
    numbered,
    read_line,
)
from antiphon.errors import AntiphonError, BusError, InvalidPattern, SubscriptionReset
from antiphon.messages import EventIn, Published, Refused
from antiphon.messages.event import Fault
from antiphon.stores import SqliteEventStore
from antiphon.stores.sqlite.look import look


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def cloud(id: str, topic: str = "in.a", payload: object = 1, **more: object) -> bytes:
    fields = {"specversion": "1.0", "id": id, "source": "/s", "type": "t", "subject": topic}
    return json.dumps({**fields, "data": payload, **more}).encode() + b"\n"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A second server, to import to."""
    made = Shell(tmp_path_factory.mktemp("other"))
    made.serve()
    yield made
    made.close()


def test_a_backup_of_a_running_server_can_take_the_place_of_its_log(
    live: Shell, tmp_path: Path
) -> None:
    publish(live, "backed.up", *range(20))
    target = tmp_path / "kept.db"
    said = json.loads(live.ok("backup", str(target), "--json"))
    assert said["path"] == str(target)
    assert said["size_bytes"] == target.stat().st_size
    refused = live("backup", str(target))
    assert refused.returncode == 1
    assert refused.stderr.endswith("--force replaces it\n")

    restored = Shell(tmp_path)
    restored.data.mkdir(mode=0o700)
    target.rename(restored.data / "log.db")
    found = lines(restored.ok("export", "backed.up"))
    assert [event["data"] for event in found] == list(range(20))


@pytest.mark.long
def test_an_export_is_the_same_with_a_server_and_without_one(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        shell.serve()
        seqs = publish(shell, "ex.port", *range(30))
        running = shell("export", "ex.port")
        assert running.returncode == 0
        assert running.stderr.endswith(f"exported 30 events, up to {seqs[-1]}\n")
        assert [int(event["sequence"]) for event in lines(running.stdout)] == seqs
        shell.kill_server()
        assert shell.ok("export", "ex.port") == running.stdout
    finally:
        shell.close()


@pytest.fixture
async def log(tmp_path: Path) -> Path:
    """A data folder whose log has ten events on each of three topics, the first five trimmed."""
    async with core(SqliteEventStore(tmp_path / "log.db")) as running:
        for n in range(10):
            for topic in ("ex.a", "ex.b", "_sys.c"):
                await running.bus.publish_event(topic, n)
        await running.log.trim("ex.b", running.log.topics["ex.b"].first_seq)
    return tmp_path


@pytest.fixture
def seqs_of(log: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[int]]:
    """What an export with these patterns and options has, as seqs."""

    def seqs_of(*patterns: str, **options: str) -> list[int]:
        capsys.readouterr()
        export(list(patterns), data=log, **options)
        return [int(event["sequence"]) for event in lines(capsys.readouterr().out)]

    return seqs_of


def test_an_export_has_what_the_patterns_and_bounds_name(seqs_of: Callable[..., list[int]]) -> None:
    whole = seqs_of("*", "_sys.*")
    core_own = set(seqs_of("_sys.actors.*"))
    assert whole == sorted(whole)
    assert len(set(whole) - core_own) == 29
    assert len(seqs_of()) == 19, "reserved topics only by name"
    assert len(seqs_of("ex.a", "ex.*")) == 19, "each event once"
    assert seqs_of("ex.*", after=str(whole[-4])) == whole[-3:-1]
    assert seqs_of("ex.*", since="1h") == seqs_of("ex.*")
    assert seqs_of("ex.*", until="1h") == []
    assert seqs_of("none.*") == []


def test_an_export_after_a_cursor_tells_what_is_missing(
    log: Path, seqs_of: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = look(log / "log.db").epochs[-1].name
    assert seqs_of("ex.a", after=f"{epoch}.1") == [s for s in seqs_of("ex.a") if s > 1]
    export(["ex.a"], data=log, after=f"{epoch}.1")
    assert "were removed" not in capsys.readouterr().err
    export(["ex.b"], data=log, after=f"{epoch}.1")
    assert "some events from 2 to" in capsys.readouterr().err
    with pytest.raises(SubscriptionReset, match="not of this log"):
        export(["ex.a"], data=log, after="0123456789ab.5")
    with pytest.raises(InvalidPattern):
        export(["**"], data=log)


def test_what_is_no_event_is_left_out_of_an_export_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "log.db", content(3))  # rows of a store's own tests, without an id
    assert export(data=tmp_path) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 is left out, it is no event" in said.err
    assert "exported 0 events" in said.err


@pytest.mark.long
def test_importing_twice_changes_nothing(live: Shell, other: Shell) -> None:
    publish(live, "carry.over", *({"n": n, "text": "ü" * n} for n in range(700)))
    exported = live.ok("export", "carry.*")
    first = json.loads(other.ok("import", "-", "--json", input=exported))
    assert first == {
        "imported": 700,
        "duplicates": 0,
        "unattributed": 0,
        "reserved": 0,
        "failed": 0,
    }
    again = other.ok("import", "-", input=exported)
    assert again == "imported 0 events; 700 were there already\n"
    arrived = lines(other.ok("export", "carry.*"))
    ours = ("id", "subject", "type", "source", "time", "data", "authid")
    assert [[event[name] for name in ours] for event in arrived] == [
        [event[name] for name in ours] for event in lines(exported)
    ]


def test_an_export_goes_back_into_its_own_log_as_duplicates(live: Shell) -> None:
    live.ok("publish", "own.log", "1", "--id", "given")
    exported = live.ok("export", "own.log")
    assert live.ok("import", "-", input=exported) == "imported 0 events; 1 were there already\n"


def test_bad_lines_and_conflicts_are_told_by_number_and_the_rest_goes_on(
    other: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.jsonl"
    parts = [
        cloud("m1"),
        b"nope\n",
        cloud("m1", payload=2),
        b"\n",
        cloud("m2", "_sys.x"),
        cloud("m3", "bad..topic"),
        cloud("m4", authid="ann"),
    ]
    file.write_bytes(b"".join(parts))
    done = other("import", str(file))
    assert done.returncode == 1
    assert done.stdout == (
        "imported 2 events; 1 of reserved topics were left out; 3 lines failed\n"
    )
    told = done.stderr.splitlines()
    assert [line.split(":")[1] for line in told] == [" line 2", " line 3", " line 6"]
    assert "no JSON object" in told[0]
    assert told[1].endswith("(id_conflict)")
    assert told[2].endswith("(invalid_topic)")
    (event,) = [e for e in lines(other.ok("query", "in.a", "--json")) if e["id"] == "m4"]
    assert event["headers"] == {"authid": "ann"}


def test_an_event_without_room_for_authid_is_imported_without_it(
    other: Shell, tmp_path: Path
) -> None:
    """It is nearly as large as the limit allows, or has as many headers."""
    ann = "ann" * 60
    size = EVENT_BYTES - len(cloud("r1", "in.room", "")) - 200
    headers = json.dumps({f"h{n}": "" for n in range(16)})
    file = tmp_path / "room.jsonl"
    file.write_bytes(
        cloud("r1", "in.room", "x" * size, authid=ann)
        + cloud("r2", "in.room", headers=headers, authid=ann)
        + cloud("r3", "in.room", authid=ann)
    )
    done = other.ok("import", str(file))
    assert done == "imported 3 events; 2 have no room for the header authid\n"
    again = other.ok("import", str(file))
    assert again == "imported 0 events; 3 were there already\n"
    found = lines(other.ok("query", "in.room", "--json"))
    assert [event["id"] for event in found] == ["r1", "r2", "r3"]
    assert ["authid" in event.get("headers", {}) for event in found] == [False, False, True]


def test_strict_stops_at_the_first_bad_line(other: Shell, tmp_path: Path) -> None:
    file = tmp_path / "strict.jsonl"
    file.write_bytes(cloud("s1") + b"nope\n" + cloud("s2"))
    done = other("import", str(file), "--strict", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["imported"] == 1


def test_without_a_server_or_a_file_it_says_so(shell: Shell, tmp_path: Path) -> None:
    assert shell("import", "-", input="").returncode == 3
    with pytest.raises(FileNotFoundError):
        import_(str(tmp_path / "none.jsonl"), data=tmp_path)
    with pytest.raises(AntiphonError, match=r"log\.db is missing"):
        export(data=tmp_path)
    with pytest.raises(AntiphonError, match=r"log\.db is missing"):
        backup(tmp_path / "b.db", data=tmp_path)


# --- without a server -----------------------------------------------------------------------


class Server:
    """Stands for the client: refuses each event so many times, then takes it."""

    def __init__(self, code: str, times: int) -> None:
        self.code = code
        self.left = times
        self.asked: list[list[str | None]] = []

    def publish_many(self, events: list[EventIn]) -> list[Published | Refused]:
        self.asked.append([event.id for event in events])
        self.left -= 1
        if self.left >= 0:
            fault = Fault(code=self.code, message="not now", retry_after_ms=1500)
            return [Refused(id=event.id, error=fault) for event in events]
        return [Published(id=event.id or "", seq=1) for event in events]


@pytest.mark.parametrize("code", ["overloaded", "storage_unavailable"])
def test_what_the_server_cannot_take_now_is_tried_again_with_the_same_ids(code: str) -> None:
    server, waited = Server(code, 3), list[float]()
    work = Import(server, strict=False, sleep=waited.append)  # type: ignore[arg-type]
    work.run(io.BytesIO(cloud("a") + cloud("b")))
    assert work.tally == Tally(imported=2)
    assert server.asked == [["a", "b"]] * 4
    assert waited == [1.5] * 3


def test_a_line_without_an_end_is_read_in_a_bounded_way() -> None:
    text = b"x" * (3 * LINE_BYTES) + b"\n" + cloud("a")
    found = list(numbered(io.BytesIO(text)))
    assert [number for number, _ in found] == [1, 2]
    assert len(found[0][1]) == LINE_BYTES + 1
    with pytest.raises(BusError, match="more than"):
        read_line(1, found[0][1])
    assert read_line(2, found[1][1]).event.id == "a"


@pytest.mark.parametrize("left", [450, 400])
def test_a_line_without_room_for_authid_comes_without_it(left: int) -> None:
    line = cloud("a", payload="x" * (EVENT_BYTES - left), authid="ann" * 30)
    read = read_line(1, line)
    assert read.unattributed == (left == 400) == (read.event.headers is None)
