"""``history`` of a real server: page after page, in either direction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.prove.server import Served

import antiphon


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("history") / "data") as running:
        yield running


async def test_history_goes_forth_and_back_over_pages(served: Served) -> None:
    async with antiphon.connect(served.url, served.token) as bus:
        seqs = [(await bus.publish("tale.a")).seq for _ in range(5)]
        for limit in (1, 2, 5):
            forth = [event.seq async for event in bus.history("tale.*", limit=limit)]
            back = [event.seq async for event in bus.history("tale.*", limit=limit, order="desc")]
            assert (forth, back) == (seqs, seqs[::-1])
        early = [event.seq async for event in bus.history("tale.*", before=seqs[2], order="desc")]
        assert early == seqs[1::-1]


def test_history_goes_back_for_threads_too(served: Served) -> None:
    with antiphon.connect_sync(served.url, served.token) as bus:
        seqs = [bus.publish("told.a").seq for _ in range(3)]
        assert [event.seq for event in bus.history("told.*", limit=1)] == seqs
        back = [event.seq for event in bus.history("told.*", limit=1, order="desc")]
        assert back == seqs[::-1]
