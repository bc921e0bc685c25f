"""The list of actors is shown as the tree that it is."""

from __future__ import annotations

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
