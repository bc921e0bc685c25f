"""Process groups: which refs belong together, per scope.

A membership is held either by a ref (until it ends) or by one generation
(``ctx.join``). A group without members is absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.actors.notices import Joined, Left
from antiphon.actors.reasons import Status
from antiphon.errors import ActorDead

if TYPE_CHECKING:
    from antiphon.actors.cell import Cell
    from antiphon.actors.life import Life
    from antiphon.actors.ref import ActorRef


class Groups:
    """All groups of one system."""

    __slots__ = ("_held", "_members", "_watchers")

    def __init__(self) -> None:
        # (scope, group) -> member -> who holds the membership
        self._members: dict[tuple[str, str], dict[ActorRef[Any], set[Cell | Life]]] = {}
        self._held: dict[Cell | Life, set[tuple[str, str]]] = {}
        self._watchers: dict[tuple[str, str | None], dict[Life, None]] = {}

    def join(self, scope: str, group: str, ref: ActorRef[Any]) -> None:
        """Make *ref* a member until it leaves or ends; again is no-op.

        Raises:
            ActorDead: It is stopping for good, or has ended.
        """
        cell = ref._cell
        if cell is None or cell.ending:
            raise ActorDead(f"cannot join {scope}/{group}: {ref.path} has ended")
        self.hold(scope, group, ref, cell)

    def leave(self, scope: str, group: str, ref: ActorRef[Any]) -> None:
        """End what ``join`` began; no-op if *ref* is no member."""
        if ref._cell is not None:
            self.release(scope, group, ref, ref._cell)

    def members(self, scope: str, group: str) -> list[ActorRef[Any]]:
        """Members, in the order of joining."""
        return list(self._members.get((scope, group), ()))

    def groups(self, scope: str) -> dict[str, list[ActorRef[Any]]]:
        """Every group of *scope* with its members."""
        return {g: list(m) for (s, g), m in self._members.items() if s == scope}

    def names(self) -> list[tuple[str, str]]:
        """Every group there is, as (scope, group)."""
        return list(self._members)

    # --- for the runtime ---

    def hold(self, scope: str, group: str, ref: ActorRef[Any], holder: Cell | Life) -> None:
        """Let *holder* keep *ref* in the group."""
        members = self._members.setdefault((scope, group), {})
        holders = members.get(ref)
        if holders is None:
            holders = members[ref] = set()
            self._tell(scope, group, Joined(scope, group, ref))
        holders.add(holder)
        self._held.setdefault(holder, set()).add((scope, group))

    def release(self, scope: str, group: str, ref: ActorRef[Any], holder: Cell | Life) -> None:
        """Take back what *holder* holds; the last one's release is the member's leaving."""
        members = self._members.get((scope, group), {})
        holders = members.get(ref)
        if holders is None or holder not in holders:
            return
        holders.discard(holder)
        held = self._held[holder]
        held.discard((scope, group))
        if not held:
            del self._held[holder]
        if not holders:
            del members[ref]
            if not members:
                del self._members[(scope, group)]
            self._tell(scope, group, Left(scope, group, ref))

    def release_all(self, ref: ActorRef[Any], holder: Cell | Life) -> None:
        """Take back everything that *holder* holds for *ref*."""
        for scope, group in tuple(self._held.get(holder, ())):
            self.release(scope, group, ref, holder)

    def watch(self, scope: str, group: str | None, watcher: Life) -> dict[str, list[ActorRef[Any]]]:
        """Tell *watcher* every change from now on; what there is now, is returned."""
        self._watchers.setdefault((scope, group), {})[watcher] = None
        now = self.groups(scope)
        return now if group is None else {g: m for g, m in now.items() if g == group}

    def unwatch(self, watcher: Life) -> None:
        """Tell *watcher* nothing more."""
        for key in [k for k, watchers in self._watchers.items() if watcher in watchers]:
            del self._watchers[key][watcher]
            if not self._watchers[key]:
                del self._watchers[key]

    def _tell(self, scope: str, group: str, notice: Joined | Left) -> None:
        told: dict[Life, None] = {}
        for key in ((scope, group), (scope, None)):
            told.update(self._watchers.get(key, {}))
        for watcher in told:
            if watcher.status is not Status.DEAD:
                watcher.notify(notice)
