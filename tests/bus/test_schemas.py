"""A publish that doesn't fit its topic's schema is refused, by whomever, also after a restart."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import antiphon
from antiphon.actors import tracing
from antiphon.bus import ADMIN, publish_event
from antiphon.bus.schemas import MOST, Schemas
from antiphon.errors import (
    BadRequest,
    InvalidPattern,
    InvalidPayload,
    InvalidSchema,
    NotFound,
    PayloadMisfit,
    StartError,
    StorageUnavailable,
)
from antiphon.messages import Event, EventIn

NAMED: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}


async def test_every_publisher_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        await publish_event(app.bus, "shop.order", {"name": 1})  # before there is a schema
        await app.bus.set_schema("shop.*", NAMED)
        head = app.bus.head
        with pytest.raises(PayloadMisfit, match=r"shop\.\*: at '/name', .* type \"string\", got 5"):
            publish_event(app.bus, "shop.order", {"name": 5})
        event = EventIn(topic="shop.order", payload={"name": 5})
        with pytest.raises(PayloadMisfit) as refused:
            app.bus.publish(event, principal=ADMIN, remote=True)
        assert (refused.value.code, refused.value.pointer) == ("invalid_payload", "/name")
        assert app.bus.head == head
        await publish_event(app.bus, "shop.order", {"name": "a"})
        await publish_event(app.bus, "shop", 5)
        await publish_event(app.bus, "other.x", 5)


async def test_all_schemas_that_match_a_topic_count(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        await app.bus.set_schema("shop.*", NAMED)
        await app.bus.set_schema("shop.order", {"required": ["price"]})
        with pytest.raises(PayloadMisfit, match=r"schema of shop\.order"):
            publish_event(app.bus, "shop.order", {"name": "a"})
        with pytest.raises(PayloadMisfit, match=r"schema of shop\.\*"):
            publish_event(app.bus, "shop.order", {"price": 1, "name": 2})
        await publish_event(app.bus, "shop.order", {"price": 1})


async def test_ephemeral_events_must_fit_too(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        await app.bus.set_schema("room.typing", {"type": "string"})
        with pytest.raises(PayloadMisfit):
            publish_event(app.bus, "room.typing", 1)


async def test_schemas_survive_a_restart_and_end_when_removed(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        await app.bus.set_schema("shop.*", NAMED)
    async with antiphon.open(tmp_path) as app:
        assert app.bus.schemas() == {"shop.*": NAMED}
        with pytest.raises(PayloadMisfit):
            publish_event(app.bus, "shop.order", 1)
        await app.bus.set_schema("shop.*", None)
        await publish_event(app.bus, "shop.order", 1)
        with pytest.raises(NotFound):
            await app.bus.set_schema("shop.*", None)
    async with antiphon.open(tmp_path) as app:
        assert app.bus.schemas() == {}
        page = await app.bus.query(["_sys.schemas"])
        told = [msgspec.json.decode(data, type=Event) for data in page.data]
    assert [(e.key, e.payload["by"], e.payload["schema"] is None) for e in told] == [
        ("shop.*", "system", False),
        ("shop.*", "system", True),
    ]


async def test_a_disk_that_refuses_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with antiphon.open(tmp_path) as app:
        await app.bus.set_schema("a.*", True)
        with monkeypatch.context() as patched:

            def full(descriptor: int) -> None:
                raise OSError(28, "No space left on device")

            patched.setattr(os, "fsync", full)
            with pytest.raises(StorageUnavailable, match="no space left"):
                await app.bus.set_schema("a.*", False)
        await publish_event(app.bus, "a.b", 1)
        assert app.bus.schemas() == {"a.*": True}
    assert Schemas(tmp_path / "schemas.json").all() == {"a.*": True}


def nested(depth: int) -> Any:
    """A schema of so many objects inside each other."""
    schema: Any = {}
    for _ in range(depth - 1):
        schema = {"not": schema}
    return schema


async def test_a_change_that_cannot_be_told_is_not_made(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        with pytest.raises(InvalidSchema, match="deeper than 64"):
            await app.bus.set_schema("a.*", nested(64))
        with pytest.raises(InvalidPayload, match="201 bytes"), tracing(correlation_id="x" * 201):
            await app.bus.set_schema("a.*", True)
        assert app.bus.schemas() == {}
        await app.bus.set_schema("b.*", nested(63))
    assert list(Schemas(tmp_path / "schemas.json").all()) == ["b.*"]


async def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    async with antiphon.open(tmp_path) as app:
        await asyncio.gather(*(app.bus.set_schema(f"a.x{n}", True) for n in range(8)))
    assert len(Schemas(tmp_path / "schemas.json").all()) == 8


async def test_what_takes_no_schema_is_refused() -> None:
    async with antiphon.open() as app:
        for pattern in ("_sys.*", "a.**"):
            with pytest.raises(InvalidPattern):
                await app.bus.set_schema(pattern, True)
        with pytest.raises(InvalidSchema):
            await app.bus.set_schema("a", {"type": "text"})
        for n in range(MOST):
            await app.bus.set_schema(f"a.x{n}", True)
        with pytest.raises(BadRequest):
            await app.bus.set_schema("one.more", True)


@pytest.mark.parametrize("text", ["nonsense", '{"a.*": {"type": "text"}}', '{"**": true}'])
async def test_a_spoiled_file_keeps_the_server_from_starting(tmp_path: Path, text: str) -> None:
    (tmp_path / "schemas.json").write_text(text)
    with pytest.raises(StartError, match=r"schemas\.json"):
        async with antiphon.open(tmp_path):
            pass
