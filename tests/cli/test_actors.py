"""The list of actors is shown as the tree that it is."""

from __future__ import annotations

from antiphon.cli.actors import in_tree_order
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
        info("log", "root"),
    ]
    keys = [actor.key for actor in in_tree_order(shuffled)]
    assert keys == ["root", "user", "log", "log/store", "lost/child"]
