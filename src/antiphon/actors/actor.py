"""What a person writes: a class with hooks. How they are called is in ``life.py``.

Promises: docs/semantics/actors.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin

from antiphon.actors.protocol import Accepts, read_protocol

if TYPE_CHECKING:
    from antiphon.actors.context import ActorContext
    from antiphon.actors.notices import Notice
    from antiphon.actors.reasons import Reason

M = TypeVar("M")

_HOOKS = (
    "pre_start",
    "post_start",
    "handle",
    "handle_notice",
    "handle_event",
    "handle_events",
    "post_stop",
)


class Actor(Generic[M]):
    """State that only its own hooks touch, one hook at a time.

    ``M`` is the type of its messages, a class or a union of classes. Where the
    runtime can't read it from ``Actor[…]``, name the classes as ``accepts = (…)``.

    Attributes:
        ends_children_at_once: Its children stop all together, not in reverse order.
        skip_abandoned: Requests whose caller is gone are not handled.

    Raises:
        TypeError: At class creation: a hook is not ``async def``, or the messages
            can't be told.
    """

    accepts: ClassVar[tuple[type, ...]]
    skip_abandoned: ClassVar[bool] = True
    ends_children_at_once: bool = False
    _accepts: ClassVar[Accepts]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_hooks(cls)
        if "accepts" in cls.__dict__:
            cls._accepts = Accepts(cls.accepts)
        else:
            _inherit_protocol(cls)

    async def pre_start(self, ctx: ActorContext[M]) -> None:
        """Make fresh state; whoever spawns waits for it. Raising means: not started."""

    async def post_start(self, ctx: ActorContext[M]) -> None:
        """Begin working; nobody waits for it. Comes before the first message."""

    async def handle(self, msg: M, ctx: ActorContext[M]) -> None:
        """Handle one message."""
        ctx.unhandled(msg)

    async def handle_notice(self, notice: Notice, ctx: ActorContext[M]) -> None:
        """Handle news about other actors, groups and subscriptions."""

    async def handle_event(self, event: Any, ctx: ActorContext[M]) -> None:
        """Handle one event of a feed."""
        ctx.unhandled(event)

    async def handle_events(self, events: Sequence[Any], ctx: ActorContext[M]) -> None:
        """Handle a slice of events at once; where defined, ``handle_event`` isn't used."""
        raise NotImplementedError

    async def post_stop(self, reason: Reason, ctx: ActorContext[M]) -> None:
        """Clean up, on every end but a kill."""


def _check_hooks(cls: type) -> None:
    for name in _HOOKS:
        hook = cls.__dict__.get(name)
        if hook is not None and not inspect.iscoroutinefunction(hook):
            raise TypeError(f"{cls.__qualname__}.{name} must be async def")


def _inherit_protocol(cls: type[Actor[Any]]) -> None:
    """Read ``Actor[…]`` among the bases; a class without it has its parent's protocol."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Actor) and get_args(base):
            cls._accepts = read_protocol(get_args(base)[0], cls.__qualname__)
            return
    if not hasattr(cls, "_accepts"):
        raise TypeError(f"{cls.__qualname__} must say what it takes: Actor[…] or accepts = (…)")
