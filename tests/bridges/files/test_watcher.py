"""Real folders: the fold of the events equals the disk. docs/semantics/files.md."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from antiphon.bridges.files import FolderWatcher, check_root, schedule
from antiphon.bridges.files import watches as watches_module
from antiphon.bridges.files.watches import Watches
from antiphon.errors import Forbidden, StartError, StorageUnavailable

from .folding import Recorder, disk, eventually, fold, watching


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "data" / "watch" / "j.db"


@pytest.fixture
def hints_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No full look repairs what the hints and their handling missed."""
    monkeypatch.setattr(schedule, "QUIET_S", ())
    monkeypatch.setattr(schedule, "SLOW_S", 1e9)


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def save_atomically(path: Path, text: str) -> None:
    """As editors do: write beside it, then rename over it."""
    beside = path.with_name(f".{path.name}.swp")
    beside.write_text(text)
    beside.replace(path)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def make_source(folder: Path, files: int) -> None:
    """A tree with a new nested folder for each file."""
    for i in range(files):
        write(folder / f"d{i % 20}" / f"e{i % 100}" / f"n{i}" / "f.txt", "x" * (i % 50))


@pytest.mark.parametrize(("recursive", "files"), [(False, 1000), (True, 300)])
async def test_a_storm_of_changes_folds_to_the_disk(
    root: Path, journal: Path, tmp_path: Path, recursive: bool, files: int
) -> None:
    """Many files in as many new folders, saved atomically, appended to, 200 made and
    removed at once, all removed; and again without waiting in between."""
    source = tmp_path / "source"
    make_source(source, files)
    write(root / "old", "here before")

    def each(change: Callable[[Path, str], None]) -> None:
        for path in (root / "copy").rglob("f.txt"):
            change(path, "more")

    def flash() -> None:
        for i in range(200):
            write(root / f"flash{i}")
            (root / f"flash{i}").unlink()

    steps: list[Callable[[], object]] = [
        lambda: shutil.copytree(source, root / "copy"),
        lambda: each(save_atomically),
        lambda: each(append),
        flash,
        lambda: shutil.rmtree(root / "copy"),
    ]
    async with watching(root, journal, recursive=recursive) as watched:
        await watched.in_step()
        for step in steps:
            await asyncio.to_thread(step)
            await watched.in_step()
        for step in steps[:3] + steps[-1:]:
            await asyncio.to_thread(step)
        await watched.in_step()
        assert fold(watched.recorder.events).keys() == {"old"}
        assert watched.problems == []


async def test_no_event_names_a_state_that_the_file_did_not_have(root: Path, journal: Path) -> None:
    """A file that only grows is never told smaller, nor at a time that it never had."""
    path = root / "log"
    path.touch()
    states = {(path.stat().st_size, path.stat().st_mtime_ns // 1000)}

    def grow() -> None:
        for i in range(300):
            append(path, "x" * i)
            states.add((path.stat().st_size, path.stat().st_mtime_ns // 1000))

    async with watching(root, journal) as watched:
        await watched.in_step()
        await asyncio.to_thread(grow)
        await watched.in_step()
        told = [event.payload["size_bytes"] for event in watched.recorder.events]
    assert told == sorted(set(told))
    assert set(told) <= {size for size, _ in states}


@pytest.mark.usefixtures("hints_only")
async def test_an_atomic_save_is_a_change(root: Path, journal: Path) -> None:
    write(root / "a.txt", "one")
    async with watching(root, journal) as watched:
        await watched.in_step()
        save_atomically(root / "a.txt", "two, longer")
        await watched.in_step()
        about = [kind for kind, path in watched.recorder.told() if path == "a.txt"]
    assert about == ["created", "changed"]


@pytest.mark.usefixtures("hints_only")
async def test_files_made_in_a_folder_right_after_it_are_all_told(
    root: Path, journal: Path
) -> None:
    async with watching(root, journal) as watched:
        await watched.in_step()
        for i in range(100):
            write(root / f"a{i}" / "b" / "c" / "f")
        await watched.in_step()
        for i in range(100):
            append(root / f"a{i}" / "b" / "c" / "f", "more")
        await watched.in_step()


@pytest.mark.usefixtures("hints_only")
async def test_files_made_before_a_watch_is_in_place_are_told(
    root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a folder was listed, and before its watch stands, files and folders are made."""
    add = Watches.add

    async def late(self: Watches, folders: Iterable[str]) -> str | None:
        for folder in list(folders):
            if folder.count("/") < 2:
                write(root / folder / "between" / "f")
                write(root / folder / "f")
        return await add(self, folders)

    monkeypatch.setattr(Watches, "add", late)
    async with watching(root, journal) as watched:
        (root / "d").mkdir()
        await eventually(lambda: ("created", "d/between/between/f") in watched.recorder.told())
        await watched.in_step()


@pytest.mark.usefixtures("hints_only")
async def test_a_folder_that_went_and_came_is_watched(root: Path, journal: Path) -> None:
    async with watching(root, journal) as watched:
        for _ in range(3):
            write(root / "d" / "sub" / "f")
            await watched.in_step()
            append(root / "d" / "sub" / "f", "more")
            await watched.in_step()
            shutil.rmtree(root / "d")
            await watched.in_step()


@pytest.mark.usefixtures("hints_only")
async def test_a_folder_made_anew_is_watched_anew(root: Path, journal: Path) -> None:
    """Even where the system gives it the number of the old one."""
    async with watching(root, journal) as watched:
        for i in range(10):
            write(root / "d" / "sub" / "f", f"{i}")
            await watched.in_step()
            shutil.rmtree(root / "d")
            write(root / "d" / "sub" / "g", f"{i}")
            await watched.in_step()
            append(root / "d" / "sub" / "g", "more")
            await watched.in_step()


@pytest.mark.usefixtures("hints_only")
async def test_a_file_becomes_a_folder_and_back(root: Path, journal: Path) -> None:
    async with watching(root, journal) as watched:
        write(root / "x")
        await watched.in_step()
        (root / "x").unlink()
        write(root / "x" / "y" / "z")
        await watched.in_step()
        shutil.rmtree(root / "x")
        write(root / "x")
        await watched.in_step()
        told = watched.recorder.told()
    assert told == [
        ("created", "x"),
        ("deleted", "x"),
        ("created", "x/y/z"),
        ("deleted", "x/y/z"),
        ("created", "x"),
    ]


@pytest.mark.usefixtures("hints_only")
async def test_moves_are_a_deletion_and_a_creation(root: Path, journal: Path) -> None:
    write(root / "a" / "b" / "f")
    async with watching(root, journal) as watched:
        await watched.in_step()
        (root / "a").rename(root / "z")
        await watched.in_step()
        append(root / "z" / "b" / "f", "more")
        await watched.in_step()


@pytest.mark.usefixtures("hints_only")
async def test_links_are_told_as_links_and_never_followed(
    root: Path, journal: Path, tmp_path: Path
) -> None:
    write(tmp_path / "elsewhere" / "secret")
    async with watching(root, journal) as watched:
        (root / "folder").symlink_to(tmp_path / "elsewhere")
        (root / "file").symlink_to(tmp_path / "elsewhere" / "secret")
        (root / "nowhere").symlink_to("nowhere at all")
        (root / "round").symlink_to(root)
        os.mkfifo(root / "pipe")
        await watched.in_step()
        append(tmp_path / "elsewhere" / "secret", "more")
        write(root / "last")
        await watched.in_step()
        told = {path for _, path in watched.recorder.told()}
    assert told == {"folder", "file", "nowhere", "round", "last"}


async def test_left_out_names_are_never_told(root: Path, journal: Path) -> None:
    (root / ".gitignore").write_text("*.log\n/build/\n")
    write(root / "sub" / ".gitignore", "!keep.log\n")
    async with watching(root, journal, ignore=["*.tmp"], exclude=[root / "data"]) as watched:
        for path in (
            "a.log", "build/x/y", "sub/b.log", "c.tmp", "data/log.db", ".git/HEAD",
            "node_modules/m/i.js", "sub/__pycache__/x.pyc", "sub/keep.log", "a.py",
        ):  # fmt: skip
            write(root / path)
        expected = {".gitignore", "sub/.gitignore", "sub/keep.log", "a.py"}
        await eventually(lambda: watched.recorder.fold().keys() == expected)
        append(root / "a.log", "more")
        append(root / "data" / "log.db", "more")
        write(root / "last")
        await eventually(lambda: watched.recorder.fold().keys() == expected | {"last"})
    assert {path for _, path in watched.recorder.told()} == expected | {"last"}


async def test_folders_left_out_cost_no_watch(root: Path, journal: Path) -> None:
    write(root / "node_modules" / "a" / "b" / "c")
    write(root / "src" / "a")
    async with watching(root, journal, recursive=False) as watched:
        await watched.in_step(lambda path: path.startswith("node_modules"))
        await eventually(lambda: "src" in watched.watcher._watches)
        assert watched.watcher._watches._watched == {"", "src"}


@pytest.mark.usefixtures("hints_only")
async def test_a_changed_gitignore_takes_effect(root: Path, journal: Path) -> None:
    write(root / "out" / "deep" / "x.o")
    write(root / "out" / "y.c")
    async with watching(root, journal) as watched:
        await watched.in_step()
        (root / "out" / ".gitignore").write_text("*.o\n")
        await watched.in_step(lambda path: path.endswith(".o"))
        assert watched.recorder.events[-1].payload.get("ignored") or any(
            event.payload.get("ignored") for event in watched.recorder.events
        )
        (root / ".gitignore").write_text("out/\n")
        await watched.in_step(lambda path: path == "out")
        (root / ".gitignore").unlink()
        await watched.in_step(lambda path: path.endswith(".o"))
        (root / "out" / ".gitignore").unlink()
        await watched.in_step()


async def test_the_data_folder_in_the_folder_watched_does_not_feed_it(root: Path) -> None:
    write(root / "a")
    async with watching(root, root / "data" / "watch" / "j.db") as watched:
        await eventually(lambda: watched.recorder.fold().keys() == {"a"})
        write(root / "b")
        await eventually(lambda: watched.recorder.fold().keys() == {"a", "b"})
    assert len(watched.recorder.events) == 2


def test_antiphons_own_folder_is_not_watched(tmp_path: Path) -> None:
    for root in (tmp_path / "data", tmp_path / "data" / "watch", tmp_path / "data" / "x"):
        with pytest.raises(StartError, match="Antiphon's own folder"):
            FolderWatcher(
                root, Recorder(), tmp_path / "data/watch/j.db", exclude=[tmp_path / "data"]
            )


def test_a_folder_that_cant_be_watched_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_root(tmp_path)
    with pytest.raises(StartError, match="no such file or directory"):
        check_root(tmp_path / "nowhere")
    with pytest.raises(StartError, match="not a directory"):
        check_root(tmp_path / "file")


# --- again after an end -----------------------------------------------------------------


async def test_after_a_restart_the_difference_is_told_first(root: Path, journal: Path) -> None:
    recorder = Recorder()
    for name in ("stays", "grows", "goes", "d/goes too"):
        write(root / name)
    async with watching(root, journal, recorder) as watched:
        await watched.in_step()
    before = len(recorder.events)
    append(root / "grows", "more")
    (root / "goes").unlink()
    shutil.rmtree(root / "d")
    write(root / "comes" / "in")

    async with watching(root, journal, recorder) as watched:
        await watched.in_step()

    assert sorted(recorder.told()[before:]) == [
        ("changed", "grows"),
        ("created", "comes/in"),
        ("deleted", "d/goes too"),
        ("deleted", "goes"),
    ]


@pytest.mark.parametrize("taken", [0, 1, 499, 500, 501, 1100])
async def test_a_crash_while_publishing_loses_and_doubles_nothing(
    root: Path, journal: Path, taken: int
) -> None:
    """A publisher that takes only so many events, then the end; then another run."""
    for i in range(1200):
        write(root / f"d{i % 7}" / f"f{i}")
    recorder = Recorder()
    recorder.accept, recorder.failure = taken, Forbidden("gone for good")
    watcher = FolderWatcher(root, recorder, journal)
    with pytest.raises(Forbidden):
        await watcher.run(asyncio.Event())
    assert len(recorder.events) == taken
    (root / "d0" / "f0").unlink()

    recorder.accept = None
    async with watching(root, journal, recorder) as watched:
        await watched.in_step()
    assert len(recorder.fold()) == 1199


async def test_cancelled_at_any_moment_it_goes_on_where_it_was(root: Path, journal: Path) -> None:
    """As an actor's kill does; the folder changes all the while."""
    recorder = Recorder()
    for i in range(15):
        for k in range(40):
            save_atomically(root / f"f{k}", "x" * i)
        task = asyncio.create_task(FolderWatcher(root, recorder, journal).run(asyncio.Event()))
        tries = recorder.tries
        if i % 3:
            await eventually(lambda tries=tries: recorder.tries > tries)
        for _ in range(i):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with watching(root, journal, recorder) as watched:
        await watched.in_step()


# --- when things go wrong ---------------------------------------------------------------


async def test_a_log_that_is_full_for_a_while_holds_up_but_loses_nothing(
    root: Path, journal: Path
) -> None:
    recorder = Recorder()
    recorder.accept, recorder.failure = 10, StorageUnavailable("disk full", retry_after_ms=1)
    async with watching(root, journal, recorder) as watched:
        for i in range(100):
            write(root / f"f{i}")
        await eventually(lambda: recorder.tries > 3)
        for i in range(100):
            (root / f"f{i}").unlink()
            write(root / f"g{i}")
        recorder.accept = None
        await watched.in_step()


async def test_without_watches_it_looks_regularly_and_says_so(
    root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr(watches_module, "watch", full)
    monkeypatch.setattr(schedule, "BLIND_S", 0.05)
    async with watching(root, journal) as watched:
        for i in range(5):
            write(root / f"d{i}" / "f")
            await watched.in_step()
    assert len(watched.problems) == 1
    assert "limit reached" in watched.problems[0]


async def test_a_folder_that_goes_and_comes_back_is_watched_again(
    root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "BLIND_S", 0.05)
    write(root / "d" / "f")
    async with watching(root, journal) as watched:
        await watched.in_step()
        shutil.rmtree(root)
        await eventually(lambda: watched.recorder.fold() == {})
        await eventually(lambda: watched.problems)
        write(root / "d" / "f")
        await watched.in_step()
        await eventually(lambda: "d" in watched.watcher._watches)
        append(root / "d" / "f", "more")
        await watched.in_step()
    assert "is gone" in watched.problems[0]


async def test_a_folder_that_is_moved_away_and_replaced_is_told_as_it_is(
    root: Path, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "BLIND_S", 0.05)
    write(root / "d" / "f")
    async with watching(root, journal) as watched:
        await watched.in_step()
        shutil.move(root, tmp_path / "aside")
        write(root / "d" / "g")
        await watched.in_step()
        append(root / "d" / "g", "more")
        await watched.in_step()


async def test_names_that_are_no_text_are_told_and_followed(
    root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "BLIND_S", 0.05)
    raw = os.fsencode(root)
    async with watching(root, journal) as watched:
        await watched.in_step()
        os.mkdir(raw + b"/d\xff")
        for name in (b"/a\xff", b"/d\xff/f", b"/d\xff/\xfe", b"/a%FF", b"/line\nbreak"):
            os.close(os.open(raw + name, os.O_CREAT | os.O_WRONLY))
        await watched.in_step()
        os.truncate(raw + b"/d\xff/f", 100)
        os.unlink(raw + b"/a\xff")
        await watched.in_step()
    assert {"./d%FF/f", "./d%FF/%FE", "a%FF", "line\nbreak"} == watched.recorder.fold().keys()


async def test_what_was_never_mentioned_is_found_when_it_is_quiet(
    root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the system's queue had run over: the hints of half the files are lost."""
    heard = FolderWatcher._on_heard

    def forgetful(self: FolderWatcher, paths: list[str]) -> None:
        heard(self, [path for path in paths if "odd" not in path])

    monkeypatch.setattr(FolderWatcher, "_on_heard", forgetful)
    async with watching(root, journal) as watched:
        await watched.in_step()
        for i in range(50):
            write(root / f"even{i}")
            write(root / f"odd{i}" / "f")
        await watched.in_step(seconds=5)


async def test_a_folder_that_cant_be_read_keeps_its_files(
    root: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "d" / "f")
    real = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("/d"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    async with watching(root, journal) as watched:
        await watched.in_step()
        monkeypatch.setattr(os, "scandir", refusing)
        os.utime(root / "d")
        await eventually(lambda: watched.problems)
        monkeypatch.undo()
        append(root / "d" / "f", "more")
        await watched.in_step()
    assert watched.problems == [f"cannot look into {root}/d: permission denied"]
    assert ("deleted", "d/f") not in watched.recorder.told()


@pytest.mark.usefixtures("hints_only")
async def test_more_paths_than_can_be_kept_mean_everything(root: Path, journal: Path) -> None:
    async with watching(root, journal) as watched:
        watched.watcher._wanted._limit = 3
        for i in range(50):
            write(root / "d" / f"f{i}")
        await watched.in_step()
        shutil.rmtree(root / "d")
        for i in range(50):
            write(root / "d" / f"f{i}", "more")
        await watched.in_step()
        append(root / "d" / "f0", "more")
        await watched.in_step()
    assert disk(root).keys() == watched.recorder.fold().keys()
