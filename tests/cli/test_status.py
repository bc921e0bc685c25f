"""The server's state as lines for people."""

from __future__ import annotations

from antiphon.cli.server import flat


def test_nested_fields_become_lines_with_units_for_people() -> None:
    state = {"log_bytes": 2048, "uptime_s": 61.2, "published": {"refused": 0}, "message": None}
    assert flat(state) == [
        ("log", "2.0 KiB"),
        ("uptime", "1m01s"),
        ("published refused", "0"),
        ("message", "-"),
    ]
