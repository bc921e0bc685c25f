"""The list of actors is shown as the tree that it is."""

from __future__ import annotations

import signal

import pytest
from tests.cli.conftest import Shell, wait_for

from antiphon.cli.actors import as_tree
from antiphon.messages import ActorInfo


def info(key: str, parent: str | None) -> ActorInfo:
    return ActorInfo(
        key=key,
        parent=parent,
        state="running",
        generation=1,
        restarts=0,
        depth=0,
        capacity=1,
        processed=0,
        failed=0,
        age_s=0.0,
    )


def test_every_actor_follows_its_parent_and_none_is_left_out() -> None:
    shuffled = [
        info("user", "root"),
        info("log/store", "log"),
        info("root", None),
        info("lost/child", "lost"),
        info("mine", "user"),
        info("log", "root"),
    ]
    tree = [(actor.key, level) for actor, level in as_tree(shuffled)]
    assert tree == [
        ("root", 0),
        ("user", 1),
        ("mine", 2),
        ("log", 1),
        ("log/store", 2),
        ("lost/child", 0),
    ]


@pytest.mark.long
def test_watching_shows_them_again_and_again_until_ctrl_c(shell: Shell) -> None:
    shell.serve()
    watching = shell.begin("actors", "--watch")
    headers = lambda: sum(line.startswith("ACTOR ") for line in watching.out)  # noqa: E731
    wait_for(lambda: headers() >= 2, "two tables")
    shell.ok("shutdown")
    wait_for(lambda: any(line.startswith("waiting: ") for line in watching.out), "the wait")
    shell.serve()
    before = headers()
    wait_for(lambda: headers() > before, "another table")
    watching.signal(signal.SIGINT)
    assert watching.end() == 0


def test_watching_is_for_people(shell: Shell) -> None:
    refused = shell("actors", "--watch", "--json")
    assert refused.returncode == 2
    assert "--json" in refused.stderr
