"""Records: whole files or none, read by their owner alone, removed only by their own stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from antiphon.messages import WorkerStart
from antiphon.services.worker.records import End, Record, Records

START = WorkerStart(argv=["a", "ä"], name="w", cwd="/", env={"K": "v"}, restart="always")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "workers")


def test_a_record_is_read_as_it_was_written(records: Records) -> None:
    end = End(kind="failed", payload={"exit_code": 1, "reason": "x"}, id="e")
    record = Record(id="w", run="r", start=START, end=end)
    records.write(record)
    assert records.read_all() == [record]
    assert end.reason == "x"


def test_no_folder_means_no_records(records: Records) -> None:
    assert records.read_all() == []


def test_a_file_that_is_already_there_becomes_private(records: Records) -> None:
    """Mode 0600 whatever the umask, also over what a crash left."""
    old = os.umask(0)
    try:
        records.folder.mkdir()
        (records.folder / "w.new").write_text("half")
        records.write(Record(id="w", run="r", start=START))
    finally:
        os.umask(old)
    assert (records.folder / "w.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in records.folder.iterdir()] == ["w.json"]


def test_only_the_stay_that_wrote_a_file_removes_it(records: Records) -> None:
    """The name may have been taken again meanwhile."""
    old, new = Record(id="w", run="old", start=START), Record(id="w", run="new", start=START)
    records.write(new)
    records.remove(old)
    assert records.read_all() == [new]
    records.remove(new)
    records.remove(new)
    assert records.read_all() == []


def test_what_is_no_record_is_set_aside(records: Records, caplog: pytest.LogCaptureFixture) -> None:
    """One broken file does not keep the others from being read."""
    records.write(Record(id="w", run="r", start=START))
    (records.folder / "torn.json").write_text('{"id": "torn"')
    (records.folder / "cut.new").write_text("half")
    (records.folder / "not ours.json").write_text("x")
    assert [record.id for record in records.read_all()] == ["w"]
    names = sorted(path.name for path in records.folder.iterdir())
    assert names == ["not ours.json", "torn.broken", "w.json"]
    assert "torn.broken" in caplog.text
