"""What an actor takes is read from its class, or the class is refused."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Never, Optional, Protocol, TypeVar, Union

import pytest
from tests.actors.kit import Ask, Crash, Ctx, Do, Note, Recorder

from antiphon.actors import Actor, ActorSystem
from antiphon.actors.protocol import read_protocol

T = TypeVar("T")


class Loud(Note):
    """A subclass of a message."""


class Shape(Protocol):
    x: int


@pytest.mark.parametrize(
    ("argument", "classes"),
    [
        (int, {int}),
        (int | str, {int, str}),
        (Union[int, str], {int, str}),  # noqa: UP007
        (Optional[int], {int, type(None)}),  # noqa: UP045
        (Annotated[int, "small"], {int}),
        (list[int], {list}),
        (None, {type(None)}),
        (Never, set()),
        (Any, {object}),
        (int | list[str] | None, {int, list, type(None)}),
    ],
)
def test_classes_are_read_from_a_type(argument: Any, classes: set[type]) -> None:
    assert set(read_protocol(argument, "X").classes) == classes


@pytest.mark.parametrize("argument", [T, "Later", Literal["a"], Shape])
def test_what_cannot_be_checked_is_refused(argument: Any) -> None:
    with pytest.raises(TypeError, match=r"name its classes as accepts"):
        read_protocol(argument, "X")


def test_a_class_that_says_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must say what it takes"):

        class Silent(Actor):  # type: ignore[type-arg]
            pass


def test_a_generic_actor_must_name_its_classes() -> None:
    with pytest.raises(TypeError, match="accepts"):

        class Open(Actor[T], Generic[T]):
            pass

    class Named(Actor[T], Generic[T]):
        accepts = (int,)

    assert Named._accepts.classes == (int,)


def test_a_subclass_has_its_parents_protocol() -> None:
    class Child(Recorder):
        pass

    assert set(Child._accepts.classes) == {Do, Note, Ask, Crash}


@pytest.mark.parametrize("hook", ["handle", "pre_start", "post_stop", "handle_event"])
def test_hooks_must_be_coroutine_functions(hook: str) -> None:
    def plain(self: Any, *args: Any) -> None: ...

    with pytest.raises(TypeError, match=f"{hook} must be async def"):
        type("Plain", (Recorder,), {hook: plain})


async def test_a_foreign_message_raises_at_the_sender(system: ActorSystem) -> None:
    """Every kind of sending refuses it; the actor doesn't notice."""
    log: list[Any] = []
    ref = await system.spawn(lambda: Recorder(log))
    foreign: Any = object()
    with pytest.raises(TypeError, match=r"cannot send object to user/.*: it takes Do \| Note"):
        ref.cast(foreign)
    with pytest.raises(TypeError):
        ref.try_cast(foreign)
    with pytest.raises(TypeError):
        await ref.send(foreign)
    with pytest.raises(TypeError):
        ref.call(foreign)
    with pytest.raises(TypeError):
        await ref.call(Do(lambda ctx: _send_after(ctx, foreign)))  # by the actor itself
    ref = await system.spawn(lambda: Recorder(log))
    ref.cast(Loud("a subclass passes"))
    assert await ref.call(Ask("x")) == "x"
    assert "a subclass passes" in log


async def _send_after(ctx: Ctx, message: Any) -> None:
    try:
        ctx.send_after(1, message)
    except TypeError as error:
        ctx._life.envelope.future.set_exception(error)  # type: ignore[union-attr]


async def test_a_message_sent_before_the_class_was_known_is_sorted_out_at_the_start(
    system: ActorSystem,
) -> None:
    log: list[Any] = []

    def factory() -> Recorder:
        ref = system.lookup("user/x")
        assert ref is not None
        ref.cast(object())
        ref.cast(Note("good"))
        return Recorder(log)

    ref = await system.spawn(factory, "x")
    assert await ref.call(Ask("x")) == "x"
    assert log[2:] == ["good", "x"]
    assert [letter.reason for letter in system.dead_letters] == ["unhandled"]
