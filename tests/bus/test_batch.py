"""What audiences see of a batch, and which batches keep what was made of them."""

from datetime import UTC, datetime

import msgspec

from antiphon.bus.access import SYSTEM, Access
from antiphon.bus.batch import Audience, Batch, Shelf
from antiphon.messages import Event


def batch(*topics: str, shelf: Shelf | None = None, payload: object = None) -> Batch:
    data = [
        msgspec.json.encode(
            Event(
                seq=n,
                id=str(n),
                topic=topic,
                type="custom.event",
                source="/x",
                principal="system",
                time=datetime(2026, 1, 1, tzinfo=UTC),
                payload=n if payload is None else payload,
            )
        )
        for n, topic in enumerate(topics, 1)
    ]
    return Batch(
        after=0,
        upto=len(topics),
        seqs=range(1, len(topics) + 1),
        topics=list(topics),
        data=data,
        shelf=shelf,
    )


def test_an_audience_sees_what_matches_and_is_allowed() -> None:
    access = Access(sub=("a.*",), deny=("a.secret",))
    audience = Audience(("a.*", "b.*"), access)
    view = batch("a.x", "b.x", "a.secret", "a.y").view(audience)
    assert view is not None
    assert [event.topic for event in view.events] == ["a.x", "a.y"]
    assert list(view.seqs) == [1, 4]
    assert batch("b.x", "c.x").view(audience) is None


def test_only_the_newest_batches_keep_their_events_as_objects() -> None:
    """What falls off the shelf is decoded again when somebody asks."""
    shelf = Shelf(max_bytes=1)
    first, second = batch("a.x", shelf=shelf), batch("a.y", shelf=shelf)
    audience = Audience(("a.x",), SYSTEM.access)
    view = first.view(audience)
    assert view is not None
    before = view.events[0]
    assert second.events[0].topic == "a.y"
    assert view.events[0] == before
    assert view.events[0] is not before


def test_only_the_newest_batches_keep_what_each_of_many_audiences_sees() -> None:
    """What an older one lost is made again when a slow reader comes by."""
    shelf = Shelf(max_bytes=100_000)
    audiences = [Audience(("a.*", f"mine.{n}"), SYSTEM.access) for n in range(100)]
    batches = [batch("a.x", "b.x", shelf=shelf) for _ in range(50)]
    views = [[one.view(audience) for audience in audiences] for one in batches]
    assert shelf.size_bytes <= 100_000
    assert [batches[-1].view(audience) for audience in audiences] == views[-1]
    oldest, before = batches[0].view(audiences[0]), views[0][0]
    assert oldest is not None
    assert before is not None
    assert oldest is not before
    assert oldest.data == before.data


def test_a_view_in_hand_keeps_no_objects_for_a_batch_that_has_shed_them() -> None:
    shelf = Shelf(max_bytes=1)
    first, second = (batch("a.x", "b.x", shelf=shelf) for _ in range(2))
    view = first.view(Audience(("a.x",), SYSTEM.access))
    assert view is not None
    seen = []
    for _ in range(3):
        seen.append(view.events[0])
        assert view.events[0] is seen[-1]
        assert second.events
    assert len({id(event) for event in seen}) == 3


def test_the_shelf_counts_what_objects_take_not_their_json() -> None:
    """Lists of small things take many times the room of a text of the same length."""
    many, few = Shelf(), Shelf()
    assert batch("a", shelf=many, payload=[{}] * 1000).events
    assert batch("a", shelf=few, payload="x" * 3000).events
    assert many.size_bytes > 20 * few.size_bytes
