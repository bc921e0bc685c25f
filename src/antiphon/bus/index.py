"""From a topic to everyone whose patterns match it, without trying every pattern.

A tree with one level for each token. A lookup follows at most two branches at each
level, the token's own and the wildcard's. Pure; not for several threads at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from antiphon.bus.topics import ONE, is_reserved, shape

T = TypeVar("T", bound=Hashable)


class _Node(Generic[T]):
    """The patterns that begin alike.

    Attributes:
        here: Values of the pattern that ends here; a count, as it can be spelled two ways.
        below: Values of the pattern that takes one or more further tokens from here.
    """

    __slots__ = ("below", "children", "here")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.here: Counter[T] = Counter()
        self.below: Counter[T] = Counter()

    def is_empty(self) -> bool:
        return not (self.children or self.here or self.below)


class PatternIndex(Generic[T]):
    """Holds (pattern, value) pairs and finds the values of a topic.

    Each pair is held once, however often it was added.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._pairs: set[tuple[str, T]] = set()

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, patterns: Iterable[str], value: T) -> None:
        """Let the topics of each of *patterns* lead to *value*.

        Raises:
            InvalidPattern: One is no pattern; those before it were added.
        """
        for pattern in patterns:
            tokens, tail = shape(pattern)
            if (pattern, value) in self._pairs:
                continue
            self._pairs.add((pattern, value))
            node = self._root
            for token in tokens:
                node = node.children.setdefault(token, _Node())
            (node.below if tail else node.here)[value] += 1

    def discard(self, patterns: Iterable[str], value: T) -> None:
        """Forget these pairs; those that aren't held don't matter."""
        for pattern in patterns:
            if (pattern, value) in self._pairs:
                self._pairs.remove((pattern, value))
                self._remove(pattern, value)

    def lookup(self, topic: str) -> set[T]:
        """The values of every pattern that matches *topic*."""
        found: set[T] = set()
        nodes = [self._root]
        wild = not is_reserved(topic)  # a wildcard in first place matches nothing reserved
        for token in topic.split("."):
            following: list[_Node[T]] = []
            for node in nodes:
                if wild:
                    found.update(node.below)
                    if (child := node.children.get(ONE)) is not None:
                        following.append(child)
                if (child := node.children.get(token)) is not None:
                    following.append(child)
            nodes, wild = following, True
        for node in nodes:
            found.update(node.here)
        return found

    def _remove(self, pattern: str, value: T) -> None:
        tokens, tail = shape(pattern)
        path = [self._root]
        for token in tokens:
            path.append(path[-1].children[token])
        values = path[-1].below if tail else path[-1].here
        values[value] -= 1
        if not values[value]:
            del values[value]
        for token, parent, child in zip(reversed(tokens), path[-2::-1], path[:0:-1], strict=True):
            if not child.is_empty():
                break
            del parent.children[token]
