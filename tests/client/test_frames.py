"""Reading the server's frames."""

from __future__ import annotations

import msgspec
import pytest

from antiphon.client.frames import RawEv, decode_frame
from antiphon.messages import Ping


def test_frames_are_read_and_their_events_left_as_they_came() -> None:
    assert decode_frame(b'{"op":"ping"}') == Ping()
    frame = decode_frame(b'{"op":"ev","sid":"s","events":[{"a": 1}],"cursor":"c"}')
    assert isinstance(frame, RawEv)
    assert bytes(frame.events[0]) == b'{"a": 1}'


def test_frames_and_fields_of_a_later_version_are_passed_over() -> None:
    assert decode_frame(b'{"op":"weather","sky":"blue"}') is None
    assert decode_frame(b'{"op":"ping","sky":"blue"}') == Ping()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"op":1}', b'{"op":"pos"}', b"\xff"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_frame(data)
