"""What a client sends is what was given, or it says so."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from antiphon.client.writing import written, written_or_refused
from antiphon.errors import InvalidPayload
from antiphon.messages import EventIn, Refused


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    "payload",
    [
        float("nan"),
        float("-inf"),
        b"x",
        (1, 2),
        {1: 2},
        {1, 2},
        2**53,
        datetime(2026, 1, 1, tzinfo=UTC),
        Decimal("1.5"),
        Point(1),
        "\ud800",
        [{"a": [b"x"]}],
    ],
    ids=repr,
)
def test_what_would_be_written_as_something_else_is_refused(payload: Any) -> None:
    with pytest.raises(InvalidPayload):
        written(EventIn(topic="a", payload=payload))


def test_json_goes_out_as_it_is() -> None:
    payload = {"n": [1, 2.5, None, True, "é"], "big": 2**53 - 1}
    assert msgspec.json.decode(written(EventIn(topic="a", payload=payload))) == {
        "topic": "a",
        "payload": payload,
    }
    raw = msgspec.Raw(b'{"as": "typed"}')
    assert b'{"as": "typed"}' in written(EventIn(topic="a", payload=raw))


def test_one_of_several_is_refused_alone() -> None:
    refused = written_or_refused(EventIn(topic="a", id="mine", payload=float("nan")))
    assert isinstance(refused, Refused)
    assert (refused.id, refused.error.code) == ("mine", "invalid_payload")
