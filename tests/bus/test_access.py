"""Who may publish and see what."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.bus.access import ADMIN, SYSTEM, Access, Principal
from antiphon.errors import InvalidPattern

from . import topic_model as model

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
