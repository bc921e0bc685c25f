"""The page in a real browser, against a real server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.serving import Server

pytestmark = pytest.mark.browser


def _events(count: int, *, topic: str = "song.verse", first: int = 1) -> list[dict[str, Any]]:
    return [{"topic": topic, "payload": {"n": first + at}} for at in range(count)]


def _rows(page: Page) -> Locator:
    return page.locator("[role=row][data-seq]")


def _seqs(page: Page) -> list[int]:
    return [int(text) for text in _rows(page).evaluate_all("all => all.map(r => r.dataset.seq)")]


def _open(page: Page, server: Server) -> None:
    page.goto(server.address)
    expect(page.get_by_test_id("status")).to_have_text("Live")


def _filter(page: Page, text: str) -> None:
    page.keyboard.press("/")
    page.get_by_label("Patterns of topics").fill(text)
    page.keyboard.press("Enter")


def test_events_appear_as_they_are_published(page: Page, server: Server) -> None:
    """What was there before the page, then what comes, in the log's order, each once."""
    old = server.publish(_events(3))
    _open(page, server)
    expect(_rows(page)).to_have_count(3)
    new = server.publish(_events(4, first=4))
    expect(_rows(page)).to_have_count(7)
    assert _seqs(page) == old + new
    expect(_rows(page).last).to_contain_text("song.verse")
    expect(_rows(page).last).to_contain_text("n 7")
    expect(page.get_by_test_id("lag")).to_contain_text(re.compile(r"\d (ms|s)"))


def test_the_token_leaves_the_address_and_a_reload_needs_none(page: Page, server: Server) -> None:
    """The fragment is exchanged for a cookie that no script can read."""
    _open(page, server)
    expect(page).to_have_url(f"{server.url}/")
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.get_by_test_id("status")).to_have_text("Live")


def test_without_a_token_the_page_asks_for_one(page: Page, server: Server) -> None:
    """It says where to find it, refuses a wrong one with a reason, and takes the address too."""
    page.goto(server.url)
    expect(page.get_by_text("antiphon status")).to_be_visible()
    page.get_by_label("Token or address").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token or address").fill(server.address)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("status")).to_have_text("Live")


def test_a_filter_shows_only_what_matches(page: Page, server: Server) -> None:
    """History and live events both follow it; it stands in the address, without a token."""
    server.publish([*_events(3), *_events(2, topic="worker.a.progress")])
    _open(page, server)
    _filter(page, "worker.*, other.topic")
    expect(_rows(page)).to_have_count(2)
    server.publish([*_events(3), *_events(1, topic="other.topic")])
    expect(_rows(page)).to_have_count(3)
    expect(_rows(page).last).to_contain_text("other.topic")
    expect(page).to_have_url(re.compile(r"filter=worker"))
    page.get_by_label("Clear the filter").click()
    expect(_rows(page)).to_have_count(9)


def test_a_refused_filter_says_why_and_changes_nothing(page: Page, server: Server) -> None:
    """The server's own words stand under the field, and events go on arriving."""
    server.publish(_events(2))
    _open(page, server)
    _filter(page, "song.*, a..b")
    expect(page.get_by_role("alert")).to_contain_text("a..b")
    server.publish(_events(1))
    expect(_rows(page)).to_have_count(3)


def test_a_paused_page_counts_what_is_new(page: Page, server: Server) -> None:
    """Nothing moves while paused; resumed, everything is there."""
    server.publish(_events(2))
    _open(page, server)
    expect(_rows(page)).to_have_count(2)
    page.keyboard.press("Space")
    server.publish(_events(5))
    expect(page.get_by_role("button", name="Resume")).to_contain_text("5 new")
    expect(_rows(page)).to_have_count(2)
    page.get_by_role("button", name="Resume").click()
    expect(_rows(page)).to_have_count(7)


def test_scrolling_up_reads_the_whole_history(page: Page, server: Server) -> None:
    """Page after page from the log until the first event; then back to the newest at once."""
    seqs = server.publish(_events(1500))
    _open(page, server)
    expect(page.locator(f'[data-seq="{seqs[-1]}"]')).to_be_visible()
    page.get_by_test_id("events").focus()
    for _ in range(40):
        page.keyboard.press("Home")
        if page.locator(f'[data-seq="{seqs[0]}"]').count():
            break
        page.wait_for_function("() => !document.querySelector('[aria-busy=true]')")
    expect(page.locator(f'[data-seq="{seqs[0]}"]')).to_be_visible()
    assert _seqs(page) == list(range(seqs[0], seqs[0] + len(_seqs(page))))
    server.publish(_events(3))
    expect(page.get_by_role("button", name="Jump to latest")).to_contain_text("3 new")
    page.keyboard.press("End")
    expect(page.locator(f'[data-seq="{seqs[-1] + 3}"]')).to_be_visible()


def test_a_killed_server_is_awaited_and_each_event_shown_once(page: Page, server: Server) -> None:
    """kill -9 and a new start: no reload, no gap, no duplicate, and a way to hurry it."""
    _open(page, server)
    page.evaluate("window.neverReloaded = true")
    before = server.publish(_events(8))
    expect(_rows(page)).to_have_count(8)
    server.kill()
    expect(page.get_by_test_id("status")).to_contain_text("next try in", timeout=8_000)
    expect(page.get_by_role("button", name="Reconnect now")).to_be_visible()
    server.start()
    between = server.publish(_events(5, first=9))
    # It may be back by itself already, so the button is pressed only if it is still there.
    page.evaluate(
        "() => [...document.querySelectorAll('button')]"
        ".find((button) => button.textContent.includes('Reconnect now'))?.click()"
    )
    expect(page.get_by_test_id("status")).to_have_text("Live", timeout=15_000)
    after = server.publish(_events(4, first=14))
    expect(_rows(page)).to_have_count(17)
    assert _seqs(page) == before + between + after
    assert page.evaluate("window.neverReloaded") is True
    assert page.locator(".note").count() == 0


def test_a_replaced_log_is_told_and_the_page_goes_on(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """The cursor is of another history: a line says so, and the new events follow it."""
    old = server.publish(_events(12))
    _open(page, server)
    expect(_rows(page)).to_have_count(12)
    server.kill()
    for file in (tmp_path / "data").glob("log.db*"):
        file.unlink()
    server.start()
    new = server.publish(_events(2, topic="new.log"))
    expect(page.locator(".note")).to_contain_text("log was replaced", timeout=15_000)
    expect(_rows(page)).to_have_count(14)
    assert _seqs(page) == old + new
    # Counting began anew; the server's own events before these are fewer than the old twelve.
    assert new[0] <= old[-1]


def test_hostile_content_stays_text(page: Page, server: Server) -> None:
    """Markup, scripts and direction marks in every field are shown, not obeyed."""
    evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e</pre>'
    server.publish(
        [
            {
                "topic": "evil",
                "type": "custom.<b>x</b>",
                "key": evil,
                "payload": {evil: [evil, {"__proto__": evil}]},
            }
        ]
    )
    _open(page, server)
    expect(_rows(page)).to_have_count(1)
    _rows(page).first.click()
    expect(page.get_by_test_id("json")).to_contain_text("<img src=x onerror=")
    expect(page.get_by_test_id("panel")).to_contain_text("custom.<b>x</b>")
    expect(page.get_by_test_id("panel")).to_contain_text("\\u202e")
    assert page.locator("img, [role=row] b, pre script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_the_keyboard_is_enough(page: Page, server: Server) -> None:
    """Arrows choose, Enter opens, Escape closes and gives the focus back."""
    server.publish(_events(5))
    _open(page, server)
    expect(_rows(page)).to_have_count(5)
    page.get_by_test_id("events").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("json")).to_contain_text('"n": 4')
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("panel")).to_have_count(0)
    expect(page.get_by_test_id("events")).to_be_focused()


def test_an_empty_log_offers_things_to_try(page: Page, server: Server) -> None:
    """Each works offline; the first event takes their place."""
    _open(page, server)
    expect(page.get_by_role("listitem")).to_have_count(3)
    expect(page.get_by_text("antiphon run --")).to_be_visible()
    server.publish(_events(1))
    expect(_rows(page)).to_have_count(1)
    expect(page.get_by_text("antiphon run --")).to_have_count(0)


def test_actors_and_workers_are_shown_beside(page: Page, server: Server) -> None:
    """The tree has the log's actors; without workers it says how to start one."""
    _open(page, server)
    page.get_by_role("button", name="Actors").click()
    expect(page.get_by_role("rowheader", name="store")).to_be_visible()
    page.get_by_role("button", name="Workers").click()
    expect(page.get_by_test_id("panel")).to_contain_text("antiphon run")


def test_a_phone_has_one_column_and_a_sheet(page: Page, server: Server) -> None:
    """Nothing is wider than the screen; the detail covers the table and can be closed."""
    page.set_viewport_size({"width": 390, "height": 844})
    server.publish([{"topic": f"{'long.' * 10}topic", "payload": "x" * 500}])
    _open(page, server)
    expect(_rows(page)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    _rows(page).first.click()
    expect(page.get_by_test_id("panel")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_test_id("panel")).to_have_count(0)


def test_on_a_phone_the_panel_is_a_dialog(page: Page, server: Server) -> None:
    """It has the focus and a name, Escape closes it, and the focus goes back where it was."""
    page.set_viewport_size({"width": 390, "height": 844})
    server.publish(_events(1))
    _open(page, server)
    button = page.get_by_role("button", name="Actors")
    button.press("Enter")
    dialog = page.get_by_role("dialog", name="Actors")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
        assert page.evaluate("!document.activeElement.closest('header, main')")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    _rows(page).first.click()
    expect(page.get_by_role("dialog", name="Event")).to_be_visible()
    page.mouse.click(195, 40)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_test_id("events")).to_be_focused()


def test_a_token_that_sees_little_is_shown_that_little(page: Page, server: Server) -> None:
    """Its name stands in the header; history, live events and panels keep to its rights."""
    server.publish([*_events(2), *_events(3, topic="secret.plan")])
    token = server.issue("choir", sub=["song.*"], roles=["worker"])
    page.goto(f"{server.url}/#token={token}")
    expect(page.get_by_test_id("status")).to_have_text("Live")
    expect(page.get_by_test_id("me")).to_have_text("choir")
    expect(_rows(page)).to_have_count(2)
    server.publish([*_events(2, topic="secret.plan"), *_events(1)])
    expect(_rows(page)).to_have_count(3)
    expect(page.get_by_role("button", name="Actors")).to_have_count(0)
    page.get_by_role("button", name="Workers").click()
    expect(page.get_by_test_id("panel")).to_contain_text("antiphon run")
    _filter(page, "secret.*")
    expect(page.get_by_role("alert")).to_contain_text("may see nothing")
    expect(_rows(page)).to_have_count(3)


def test_a_token_taken_away_shows_the_way_in_and_why(page: Page, server: Server) -> None:
    """At once, with nothing left to see; another token goes on, with all that it may see."""
    server.publish([*_events(2), *_events(3, topic="secret.plan")])
    token = server.issue("choir", sub=["song.*"])
    page.goto(f"{server.url}/#token={token}")
    expect(_rows(page)).to_have_count(2)
    server.revoke("choir")
    expect(page.get_by_role("alert")).to_contain_text("revoked")
    expect(_rows(page)).to_have_count(0)
    page.get_by_label("Token or address").fill(server.token)
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("status")).to_have_text("Live")
    expect(page.get_by_test_id("me")).to_have_text("admin")
    expect(_rows(page)).to_have_count(5)
    expect(page.get_by_role("button", name="Actors")).to_be_visible()


def test_a_flood_is_followed_to_its_end(page: Page, server: Server) -> None:
    """20,000 events as fast as they go in: the newest is shown, and the rows stay few."""
    _open(page, server)
    seqs = server.publish(_events(20_000))
    expect(page.locator(f'[data-seq="{seqs[-1]}"]')).to_be_visible(timeout=15_000)
    shown = _seqs(page)
    assert shown == list(range(shown[0], seqs[-1] + 1))
    assert len(shown) < 100
    expect(page.get_by_test_id("dropped")).to_have_text("0")
