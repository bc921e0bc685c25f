"""Who may publish and see what."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.app import Core
from antiphon.bus.access import ADMIN, SYSTEM, Access, Principal
from antiphon.bus.batch import Slice
from antiphon.bus.event_rules import check_event
from antiphon.bus.subscription import Subscription
from antiphon.errors import Forbidden, InvalidPattern
from antiphon.messages import EventIn

from . import topic_model as model
from .conftest import until

lists = st.lists(model.patterns, max_size=3).map(tuple)
accesses = st.builds(Access, sub=lists, deny=lists)


def _visible(access: Access) -> frozenset[str]:
    allowed = frozenset[str]().union(*map(model.extent, access.sub))
    return allowed - frozenset[str]().union(*map(model.extent, access.deny))


@given(accesses)
def test_what_may_be_seen_is_what_is_allowed_and_not_denied(access: Access) -> None:
    visible = _visible(access)
    for topic in model.WORLD:
        assert access.may_see(topic) is (topic in visible)


@given(accesses, model.patterns)
def test_a_pattern_may_be_subscribed_to_if_one_allowed_pattern_covers_it(
    access: Access, pattern: str
) -> None:
    """And not if all of it is denied: silence would be the worse answer."""
    extent = model.extent(pattern)
    covered = any(extent <= model.extent(allowed) for allowed in access.sub)
    denied = any(extent <= model.extent(refused) for refused in access.deny)
    assert access.may_subscribe(pattern) is (covered and not denied)


@settings(max_examples=200)
@given(accesses, st.lists(model.patterns, min_size=1, max_size=3))
def test_narrow_gives_exactly_what_may_be_seen_of_it(access: Access, patterns: list[str]) -> None:
    narrowed = access.narrow(patterns)
    assert all(access.may_subscribe(pattern) for pattern in narrowed)
    extents = [model.extent(pattern) for pattern in narrowed]
    assert not any(a <= b for i, a in enumerate(extents) for j, b in enumerate(extents) if i != j)
    wanted = frozenset[str]().union(*map(model.extent, patterns)) & _visible(access)
    assert wanted == frozenset[str]().union(*extents) & _visible(access)


def test_nothing_is_allowed_by_default() -> None:
    nobody = Access()
    assert not nobody.may_publish("a")
    assert not nobody.may_see("a")
    assert not nobody.may_subscribe("a")
    assert nobody.narrow(["*"]) == []


def test_a_denied_topic_may_not_be_published_to_either() -> None:
    access = Access(pub=("chat.*",), sub=("chat.*",), deny=("chat.secret.*",))
    assert access.may_publish("chat.lobby")
    assert not access.may_publish("chat.secret.a")
    assert access.may_subscribe("chat.*")
    assert not access.may_subscribe("chat.secret.*")
    assert not access.may_see("chat.secret.a")


def test_reserved_topics_are_written_by_antiphon_alone() -> None:
    assert SYSTEM.access.may_publish("_sys.store.full")
    assert SYSTEM.access.may_publish("worker.a")
    assert not ADMIN.access.may_publish("_sys.store.full")
    with pytest.raises(InvalidPattern, match="written by Antiphon alone"):
        Access(pub=("_sys.*",))


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("_sys.x", "reserved topics are written by Antiphon alone"),
        ("chat.secret", "chat.secret is denied"),
        ("build.x", "only to chat.*, mail.*"),
    ],
)
def test_a_refused_publish_says_by_which_rule(topic: str, why: str) -> None:
    ann = Principal("ann", Access(pub=("chat.*", "mail.*"), deny=("chat.secret",)))
    with pytest.raises(Forbidden) as refused:
        check_event(EventIn(topic=topic, payload=1), ann)
    assert str(refused.value) == f"ann may not publish to {topic}: {why}"
    assert Access().why_not_publish("a") == "to no topic at all"


def test_the_admin_sees_everything_and_publishes_what_is_not_reserved() -> None:
    for topic in ("a", "worker.x.y", "_sys.x"):
        assert ADMIN.access.may_see(topic)
    assert ADMIN.access.may_publish("worker.x.y")
    assert ADMIN.access.may_subscribe("*")
    assert ADMIN.access.may_subscribe("_sys.*")
    assert ADMIN.access.may_subscribe("_sys.stats.a")


@pytest.mark.parametrize("name", ["pub", "sub", "deny"])
def test_a_grant_that_is_no_pattern_is_refused(name: str) -> None:
    with pytest.raises(InvalidPattern):
        Access(**{name: ("a.**",)})


def test_principals_compare_by_name_and_access() -> None:
    one = Principal("me", Access(pub=("a",)))
    assert one == Principal("me", Access(pub=("a",)))
    assert hash(one) == hash(Principal("me", Access(pub=("a",))))
    assert one != Principal("me", Access(pub=("b",)))
    assert one != Principal("you", Access(pub=("a",)))


@pytest.mark.parametrize(
    ("name", "source"),
    [("admin", "/clients/admin"), ("actor:log/store", "/clients/actor:log%2Fstore")],
)
def test_a_principals_source_is_a_uri_reference(name: str, source: str) -> None:
    assert Principal(name, Access()).source == source


# --- access that changes --------------------------------------------------------------------


def seen(subscription: Subscription) -> list[Any]:
    found: list[Any] = []
    while (taken := subscription.take()) is not None:
        if isinstance(taken, Slice):
            found += [event.payload for event in taken.events]
    return found


async def publish(running: Core, **payloads: Any) -> None:
    for topic, payload in payloads.items():
        await running.bus.publish_event(topic.replace("_", "."), payload)


async def publish_together(running: Core, **payloads: Any) -> None:
    """As one batch: the writer is held until all of them wait."""
    held, go = threading.Event(), threading.Event()
    running.log.in_writer(lambda: held.set() or go.wait())  # type: ignore[func-returns-value]
    await until(held.is_set)
    waiting = [
        running.bus.publish_event(topic.replace("_", "."), payload)
        for topic, payload in payloads.items()
    ]
    go.set()
    await asyncio.gather(*waiting)


async def test_a_denial_acts_on_open_subscriptions_at_once(running: Core) -> None:
    """On live events, on what is in hand, and on nobody else's."""
    bob = Principal("bob", Access(sub=("*",)))
    mine, other = (
        running.bus.open_subscription(["*"], principal=who, on_ready=lambda: None)
        for who in (bob, SYSTEM)
    )
    assert seen(mine) == seen(other) == []
    await publish_together(running, a_x=1, b_x=2)
    assert isinstance(mine.take(limit=1), Slice)
    assert running.log.regrant("bob", Access(sub=("*",), deny=("b.*",))) == 1
    await publish(running, a_x=3, b_x=4)
    assert seen(mine) == [3]
    assert seen(other) == [1, 2, 3, 4]
    assert running.log.regrant("bob", Access(sub=("b.*",))) == 1
    await publish(running, a_x=5, b_x=6)
    assert seen(mine) == [6]
    mine.close()
    assert running.log.regrant("bob", Access()) == 0


async def test_a_denial_acts_in_replay(running: Core) -> None:
    """Read from the log: neither a page that was asked for before nor a later one shows it."""
    running.log.ring.max_events = 1
    for n in range(40):
        await publish(running, a_x=n, b_x="secret")
    bob = Principal("bob", Access(sub=("*",)))
    subscription = running.bus.open_subscription(
        ["*"], start="earliest", principal=bob, on_ready=lambda: None
    )
    assert subscription.take() is None, "the page is on its way"
    running.log.regrant("bob", Access(sub=("*",), deny=("b.*",)))
    found: list[Any] = []
    await until(lambda: not found.extend(seen(subscription)) and subscription.live)  # type: ignore[func-returns-value]
    assert found == list(range(40))


async def test_a_wider_access_shows_more_from_then_on_and_skips_nothing(running: Core) -> None:
    bob = Principal("bob", Access(sub=("*",), deny=("b.*",)))
    running.log.ring.max_events = 1
    for n in range(20):
        await publish(running, a_x=n, b_x=-n)
    subscription = running.bus.open_subscription(
        ["*"], start="earliest", principal=bob, on_ready=lambda: None
    )
    found: list[Any] = []

    def read_some() -> bool:
        taken = subscription.take(limit=5)
        if isinstance(taken, Slice):
            found.extend(event.payload for event in taken.events)
        return len(found) >= 5

    await until(read_some)
    running.log.regrant("bob", Access(sub=("*",)))
    await until(lambda: not found.extend(seen(subscription)) and subscription.live)  # type: ignore[func-returns-value]
    rest = [payload for n in range(5, 20) for payload in (n, -n)]
    assert found == [0, 1, 2, 3, 4, -4, *rest]


async def test_what_is_granted_while_a_slice_is_handled_is_not_skipped(running: Core) -> None:
    bob = Principal("bob", Access(sub=("*",), deny=("b.*",)))
    subscription = running.bus.open_subscription(["*"], principal=bob, on_ready=lambda: None)
    assert seen(subscription) == []
    await publish_together(running, b_x=1, a_x=2, b_y=3)
    peeked = subscription.peek()
    assert isinstance(peeked, Slice)
    running.log.regrant("bob", Access(sub=("*",)))
    subscription.advance(len(peeked))
    assert seen(subscription) == [3]
