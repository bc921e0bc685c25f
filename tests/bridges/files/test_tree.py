"""The decisions about files, against a made-up disk. docs/semantics/files.md#states."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from antiphon.bridges.files.tree import (
    Change,
    FileState,
    Found,
    Gone,
    Listing,
    Sight,
    Tree,
    Unreadable,
    join,
)

Disk = dict[str, FileState | None]
"""Files with their states, folders with None; the folder watched is not in it."""

NAMES = st.sampled_from(["a", "b", "c", "a.b"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
STATES = st.builds(FileState, st.integers(0, 2), st.integers(0, 2), st.integers(1, 2))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, STATES),
        st.tuples(st.just("mkdir"), PATHS, st.none()),
        st.tuples(st.just("remove"), PATHS, st.none()),
        st.tuples(st.just("look"), PATHS, st.none()),
        st.tuples(st.just("look over"), st.just(""), st.none()),
    ),
    max_size=40,
)


def remove(disk: Disk, path: str) -> None:
    for other in [p for p in disk if p == path or p.startswith(path + "/")]:
        del disk[other]


def place(disk: Disk, path: str, state: FileState | None) -> None:
    """Put a file or folder there; what stands in the way goes."""
    for i in range(len(path)):
        if path[i] == "/" and disk.get(path[:i], True) is not None:
            disk[path[:i]] = None
    if state is not None or disk.get(path) is not None:
        remove(disk, path)
    disk[path] = state


def sight(disk: Disk, path: str, deep: bool) -> Sight:
    if path and path not in disk:
        return Gone(path)
    state = disk.get(path)
    if state is not None:
        return Found(path, state)
    inside = {p.rpartition("/")[2]: s for p, s in disk.items() if p.rpartition("/")[0] == path}
    files = {name: state for name, state in inside.items() if state is not None}
    return Listing(path, files, inside.keys() - files.keys(), deep=deep)


def look(tree: Tree, disk: Disk, path: str, *, deep: bool = False) -> list[Change]:
    changes: list[Change] = []
    todo = [(path, deep)]
    while todo:
        at, deep_here = todo.pop()
        outcome = tree.see(sight(disk, at, deep_here))
        counts = Counter(change.path for change in outcome.changes)
        assert not counts or max(counts.values()) == 1
        changes += outcome.changes
        todo += [(folder, True) for folder in outcome.to_list]
    return changes


def files_of(disk: Disk) -> dict[str, FileState]:
    return {path: state for path, state in disk.items() if state is not None}


def fold_into(files: dict[str, FileState], changes: list[Change], disk: Disk) -> None:
    for change in changes:
        if change.kind == "deleted":
            assert files.pop(change.path) == change.state
            assert disk.get(change.path) is None
        else:
            assert (change.kind == "created") == (change.path not in files)
            assert disk[change.path] == change.state
            assert files.get(change.path) != change.state
            files[change.path] = change.state


@given(STEPS)
def test_events_name_real_states_alternate_and_fold_to_what_was_looked_at(
    steps: list[tuple[str, str, FileState | None]],
) -> None:
    tree, disk, told = Tree(), Disk(), dict[str, FileState]()
    for verb, path, state in steps:
        if verb in ("write", "mkdir"):
            place(disk, path, state)
        elif verb == "remove":
            remove(disk, path)
        elif verb == "look":
            fold_into(told, look(tree, disk, tree.nearest(path)), disk)
            assert told.get(path) == disk.get(path)
        else:
            fold_into(told, look(tree, disk, "", deep=True), disk)
            assert told == files_of(disk)
        assert tree.files() == told
    fold_into(told, look(tree, disk, "", deep=True), disk)
    assert told == files_of(disk) == tree.files()
    assert set(tree.folders()) == {""} | {p for p, s in disk.items() if s is None}


@given(st.dictionaries(PATHS, STATES), st.dictionaries(PATHS, STATES))
def test_a_tree_that_was_loaded_tells_the_difference(
    before: dict[str, FileState], after: dict[str, FileState]
) -> None:
    old, new = Disk(), Disk()
    for path, state in before.items():
        place(old, path, state)
    for path, state in after.items():
        place(new, path, state)
    told = files_of(old)
    tree = Tree(told.items())

    fold_into(told, look(tree, new, "", deep=True), new)

    assert told == files_of(new)


def test_what_a_rule_leaves_out_is_deleted_from_view() -> None:
    state = FileState(1, 2, 3)
    tree = Tree([("x/y", state), ("z", state)])

    outcome = tree.see(Listing("", {}, set(), ignored={"x", "z"}))

    assert outcome.changes == [
        Change("deleted", "x/y", state, ignored=True),
        Change("deleted", "z", state, ignored=True),
    ]
    assert outcome.gone == ["x"]


def test_what_cant_be_read_stays_as_it_was_known() -> None:
    state = FileState(1, 2, 3)
    tree = Tree([("x/y", state)])

    outcome = tree.see(Unreadable("x", "permission denied"))

    assert not outcome.changes
    assert tree.files() == {"x/y": state}


def test_folders_may_be_nested_deeper_than_pythons_stack() -> None:
    deep = "/".join(["d"] * 2000)
    tree = Tree([(join(deep, "f"), FileState(0, 0, 1))])

    outcome = tree.see(Gone("d"))

    assert [change.kind for change in outcome.changes] == ["deleted"]
    assert len(outcome.gone) == 2000
