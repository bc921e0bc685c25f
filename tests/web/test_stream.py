"""Server-sent events in a real Chromium: its own EventSource comes back where it was."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

FOLLOW = """() => {
  window.seen = []
  window.source = new EventSource('/v1/stream?pattern=song.*')
  window.source.onmessage = (event) => window.seen.push(JSON.parse(event.data).seq)
  return new Promise((done) => { window.source.onopen = () => done(true) })
}"""
EVENTS = [{"topic": "song.verse", "payload": n} for n in range(3)]


@pytest.mark.long
def test_an_event_source_misses_nothing_while_the_server_is_away(page: Page, server: Any) -> None:
    page.goto(server.address)
    page.wait_for_function("() => !location.hash")
    assert page.evaluate(FOLLOW)
    first = server.publish(EVENTS)
    page.wait_for_function("(last) => window.seen.at(-1) === last", arg=first[-1])
    server.kill()
    server.start()
    second = server.publish(EVENTS)
    page.wait_for_function("(last) => window.seen.at(-1) === last", arg=second[-1])
    assert page.evaluate("window.seen") == first + second
