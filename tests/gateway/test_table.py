"""The table at the end of docs/gateway.md has every frame, route, code and line of security."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.docs.test_promises import existing

from antiphon.gateway.closing import CloseCode
from antiphon.gateway.faults import TITLES
from antiphon.messages import ClientFrame, ServerFrame

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"
HEADING = "## Where each of these is tested"
SECURITY_LINES = 8


def rows(heading: str) -> dict[str, list[str]]:
    """What stands in the table of that heading, and the tests beside it."""
    text = PAGE.read_text("utf-8").partition(HEADING)[2]
    table = text.partition(f"| {heading} | tests |\n")[2].partition("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[1:]]
    return {what.strip("`"): re.findall(r"::(test_\w+)", tests) for what, tests in lines}


def tags(union: Any) -> set[str]:
    return {kind.__struct_config__.tag for kind in get_args(union)}


def test_every_frame_is_there() -> None:
    assert set(rows("client's frame")) == tags(ClientFrame)
    assert set(rows("server's frame")) == tags(ServerFrame)


def test_every_close_code_of_our_own_is_there() -> None:
    codes: type[Enum] = CloseCode
    assert set(rows("close code")) == {str(int(code.value)) for code in codes}


async def test_every_route_is_there(desk: Any) -> None:
    operations = desk.gateway._http.operations
    table = {f"{o.method} {o.path.replace(':path', '')}" for o in operations}
    assert set(rows("route")) == table


def test_every_error_code_is_there() -> None:
    assert set(rows("error code")) == set(TITLES)


def test_every_line_of_security_is_there() -> None:
    numbers = [int(what.partition(".")[0]) for what in rows("security")]
    assert numbers == list(range(1, SECURITY_LINES + 1))


@pytest.mark.parametrize(
    "heading",
    ["client's frame", "server's frame", "close code", "route", "error code", "security"],
)
def test_each_has_tests_that_exist(heading: str) -> None:
    there = existing()
    found = rows(heading)
    assert all(found.values()), [what for what, tests in found.items() if not tests]
    assert not {test for tests in found.values() for test in tests} - there
