"""The journal: what is written down survives, and is the same afterwards.

docs/semantics/files.md#exactly-once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.bridges.files import journal as module
from antiphon.bridges.files.events import to_event
from antiphon.bridges.files.journal import Journal, journal_path
from antiphon.bridges.files.tree import Change, FileState
from antiphon.errors import StartError
from antiphon.messages import EventIn

A, B = FileState(1, 2, 3), FileState(4, 5, 6)


def tell(change: Change, event_id: str) -> EventIn:
    return to_event(change, source="/watch/x", time=datetime.now(UTC), event_id=event_id)


def opened(path: Path) -> Journal:
    journal = Journal(path, "/root")
    journal.open()
    return journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = opened(tmp_path / "w" / "j.db")
    yield journal
    journal.close()


def again(journal: Journal) -> Journal:
    """What the next process finds."""
    journal.close()
    return opened(journal._path)


def test_a_batch_written_down_is_found_again_as_it_was(journal: Journal) -> None:
    events = journal.stage([Change("created", "a", A), Change("created", "b\udcff", B)], tell)

    after = again(journal)

    assert after.pending() == events
    assert after.files() == []
    after.close()


def test_a_settled_batch_is_known_and_no_longer_pending(journal: Journal) -> None:
    journal.stage([Change("created", "a", A), Change("created", "b\udcff", B)], tell)
    journal.settle()
    journal.stage([Change("deleted", "a", A), Change("changed", "b\udcff", A)], tell)
    journal.settle()

    after = again(journal)

    assert after.pending() == []
    assert after.files() == [("b\udcff", A)]
    after.close()


STEP = st.tuples(st.sampled_from("abc"), st.sampled_from([A, B, None]))


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(st.lists(STEP, min_size=1), max_size=4))
def test_the_last_word_on_each_path_counts(
    batches: list[list[tuple[str, FileState | None]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = opened(tmp_path_factory.mktemp("journal") / "j.db")
    files: dict[str, FileState] = {}
    for batch in batches:
        journal.stage(
            [
                Change("deleted", path, A) if state is None else Change("created", path, state)
                for path, state in batch
            ],
            tell,
        )
        journal.settle()
        for path, state in batch:
            if state is None:
                files.pop(path, None)
            else:
                files[path] = state
    assert dict(journal.files()) == files
    journal.close()


def test_no_id_is_given_twice(journal: Journal) -> None:
    changes = [Change("created", "a", A), Change("created", "b", B)]
    ids = [event.id for event in journal.stage(changes, tell)]
    journal.settle()
    after = again(journal)
    ids += [event.id for event in after.stage(changes, tell)]
    ids += [event.id for event in after.renumber()]

    assert len(set(ids)) == 6
    assert all(id is not None and id.startswith("w-") and len(id) <= 64 for id in ids)
    after.close()


def test_new_ids_stay_the_ids(journal: Journal) -> None:
    journal.stage([Change("created", "a", A)], tell)
    renamed = journal.renumber()

    after = again(journal)

    assert after.pending() == renamed
    after.close()


def test_one_watcher_holds_it(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    second = Journal(journal._path, "/root")

    with pytest.raises(StartError, match="cannot watch /root: another watcher is at it"):
        second.open()
    second.close()


def test_it_waits_for_an_earlier_holder_to_let_go(journal: Journal) -> None:
    threading.Timer(0.05, journal.close).start()

    second = Journal(journal._path, "/root")
    second.open()
    second.close()


def test_a_damaged_journal_is_put_aside_with_a_word(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"no database at all" * 100)

    journal = opened(path)

    assert journal.repaired is not None
    assert "damaged" in journal.repaired
    assert journal.files() == []
    assert len(list(tmp_path.glob("j.broken-*"))) == 1
    journal.close()


def test_a_folder_that_cant_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = Journal(tmp_path / "file" / "j.db", "/root")

    with pytest.raises(StartError, match="cannot watch /root: journal"):
        journal.open()
    journal.close()


def test_closed_before_it_opens_it_stays_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "/root")
    journal.close()
    journal.open()

    assert not (tmp_path / "j.db").exists()


def test_each_folder_has_a_journal_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names = {journal_path(tmp_path, tmp_path / name) for name in ("a", "b", "link")}

    assert len(names) == 2
    assert {path.parent for path in names} == {tmp_path / "watch"}
