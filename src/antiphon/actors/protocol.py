"""Which classes an actor takes: read once from ``Actor[A | B]``, asked at every send.

Pure. A type that can't be read at class creation is refused there, so that
no actor runs unchecked by accident.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Never, NoReturn, Union, get_args, get_origin


class Accepts:
    """The classes of an actor's messages.

    Attributes:
        exact: Classes seen and let pass; senders look here first.
        classes: What the actor declared; subclasses pass too.
    """

    __slots__ = ("classes", "exact")

    def __init__(self, classes: Iterable[type]) -> None:
        self.classes = tuple(classes)
        self.exact: set[type] = set(self.classes)

    def admits(self, message: object) -> bool:
        """Tell whether *message* passes, and remember its class if so."""
        if isinstance(message, self.classes):
            self.exact.add(type(message))
            return True
        return False

    def __str__(self) -> str:
        return " | ".join(c.__name__ for c in self.classes) or "nothing"


class _Anything(Accepts):
    __slots__ = ()

    def admits(self, message: object) -> bool:
        return True


ANYTHING = _Anything((object,))
"""Stands in until a factory has shown which class it makes; remembers nothing."""


def read_protocol(argument: Any, owner: str) -> Accepts:
    """Turn the argument of ``Actor[…]`` into classes.

    Raises:
        TypeError: If some part of it is no class that can be checked.
    """
    return Accepts(dict.fromkeys(_classes(argument, owner)))


def _classes(argument: Any, owner: str) -> Iterator[type]:
    if argument is Any:
        yield object
    elif argument is None:
        yield types.NoneType
    elif argument in (Never, NoReturn):
        return
    elif hasattr(argument, "__value__"):  # type Alias = …, from 3.12
        yield from _classes(argument.__value__, owner)
    elif get_origin(argument) is Annotated:
        yield from _classes(get_args(argument)[0], owner)
    elif get_origin(argument) in (Union, types.UnionType):
        for part in get_args(argument):
            yield from _classes(part, owner)
    else:
        yield _checkable(get_origin(argument) or argument, owner)


def _checkable(candidate: Any, owner: str) -> type:
    try:
        isinstance(None, candidate)
    except TypeError:
        candidate = None
    if not isinstance(candidate, type):
        raise TypeError(
            f"cannot read the messages of {owner} from its Actor[…]; "
            "name its classes as accepts = (…)"
        )
    return candidate
