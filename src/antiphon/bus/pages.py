"""Pages of the log, read once for all who need them.

Few readers of the disk, few pages in memory: at most ``READS`` reads are in
flight, oldest request first, and at most ``PAGES`` pages of ``PAGES_BYTES`` in all are
kept, by first seq.

Pages begin at multiples of ``PAGE_EVENTS``, so that readers share them wherever they
stand. One that was cut short at ``PAGE_BYTES`` is continued right where it ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from antiphon.bus.batch import Audience, Batch
from antiphon.bus.store import Query, StoreCorrupt, Stored, StoreReader

if TYPE_CHECKING:
    from antiphon.bus.log import Log

logger = logging.getLogger(__name__)

READS = 4
PAGES = 64
PAGES_BYTES = 32 * 1024 * 1024
PAGE_EVENTS = 500
PAGE_BYTES = 4 * 1024 * 1024
"""A page ends with the event that brings it there, or with the last of ``PAGE_EVENTS``; one
that is read by topic, where an average event would bring it there."""
NARROW_SHARE = 20
"""A reader whose topics hold under 1/20 of what lies ahead reads by topic, alone."""
NARROW_DISTANCE = 10_000
RETRY_S = 1.0

T = TypeVar("T")
Deliver = Callable[[Batch | None, int], None]
"""Takes a page, or None: ask again; and the trim clock of the moment when it was asked for."""


class Pages:
    """The log's readers, and the pages they brought.

    Every callback runs in the loop. A read that fails is logged and answered with
    None after a second, so that whoever waits asks again.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept: OrderedDict[int, Batch] = OrderedDict()
        self._waiting: dict[int, list[tuple[int, Deliver]]] = {}
        self._pool = ThreadPoolExecutor(READS, thread_name_prefix="antiphon-read")
        self._local = threading.local()
        self._readers: list[StoreReader] = []
        self._era = 0
        self.reads = 0
        self.failures = 0

    def after(self, audience: Audience, position: int, deliver: Deliver) -> None:
        """Bring a page that reaches past *position*."""
        query = self._narrow(audience, position)
        if query is not None:
            self._read_narrow(query, deliver)
            return
        first = position - position % PAGE_EVENTS
        page = self._look_up(first)
        if page is not None and page.upto <= position and _is_full(page):
            first = position
            page = self._look_up(first)
        if page is None or page.upto <= position:
            self._read(first, position, deliver)
            return
        era, now = self._era, self._log.removals.clock
        self._log.call_soon(lambda: deliver(page if era == self._era else None, now))

    def newest_of(self, audience: Audience, upto: int, deliver: Deliver) -> None:
        """Bring the newest event up to *upto* of each topic that *audience* sees."""
        seqs = sorted(
            state.last_seq
            for name, state in self._log.topics.items()
            if audience.sees(name) and state.count
        )

        clock = self._log.removals.clock

        def came(rows: Sequence[Stored] | None) -> None:
            deliver(None if rows is None else self._batch(rows, after=0, upto=upto), clock)

        wanted = [seq for seq in seqs if seq <= upto]
        self._submit(lambda reader: reader.get(wanted), came)

    @property
    def size_bytes(self) -> int:
        """What the kept pages hold, as JSON."""
        return sum(page.size_bytes for page in self._kept.values())

    async def run(self, read: Callable[[StoreReader], T]) -> T:
        """Run *read* on one of the readers; what it didn't find any more is written down then.

        Raises:
            StoreUnavailable, StoreCorrupt: The log can't be read; damage ends the writing.
        """
        try:
            result = await asyncio.wrap_future(self._pool.submit(self._with_reader, read))
        except StoreCorrupt as error:
            self._log.writer.damaged(str(error))
            raise
        unnoted = self._log.removals.unnoted(0)
        if unnoted is not None:
            await asyncio.wait((unnoted,))
        return result

    def clear(self, *, upto: int | None = None) -> None:
        """Drop every page, and those that are being read: events were forgotten.

        Args:
            upto: Only kept pages that begin before this seq: events up to it were removed.
        """
        if upto is not None:
            for first in [first for first in self._kept if first < upto]:
                del self._kept[first]
            return
        self._kept.clear()
        self._era += 1

    def close(self) -> None:
        """End the readers; waits for the reads in hand."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    # --- inside -------------------------------------------------------------------------

    def _narrow(self, audience: Audience, position: int) -> Query | None:
        head = self._log.head
        ahead = head - position
        if ahead < NARROW_DISTANCE:
            return None
        total = size = 0
        topics = []
        for name, state in self._log.topics.items():
            if state.last_seq > position and audience.sees(name):
                total += state.count
                size += state.size_bytes
                topics.append(name)
                if total * NARROW_SHARE > ahead:
                    return None
        average = 1 + size // max(1, total)
        limit = max(1, min(PAGE_EVENTS, PAGE_BYTES // average))
        return Query(topics=frozenset(topics), after=position, before=head + 1, limit=limit)

    def _read_narrow(self, query: Query, deliver: Deliver) -> None:
        head, clock = self._log.head, self._log.removals.clock

        def came(rows: Sequence[Stored] | None) -> None:
            if rows is None:
                deliver(None, clock)
                return
            upto = rows[-1].seq if len(rows) == query.limit else head
            deliver(self._batch(rows, after=query.after, upto=upto), clock)

        self._submit(lambda reader: reader.select(query), came, after=query.after)

    def _look_up(self, first: int) -> Batch | None:
        page = self._kept.get(first)
        if page is not None:
            self._kept.move_to_end(first)
        return page

    def _read(self, first: int, position: int, deliver: Deliver) -> None:
        """Read the page that begins after *first*, for one who stands at *position*."""
        waiting = self._waiting.setdefault(first, [])
        waiting.append((position, deliver))
        if len(waiting) == 1:
            head, clock = self._log.head, self._log.removals.clock
            self._submit(
                lambda reader: reader.page(first, PAGE_EVENTS, PAGE_BYTES),
                lambda rows: self._page_came(first, head, clock, rows),
                after=first,
            )

    def _page_came(self, first: int, head: int, clock: int, rows: Sequence[Stored] | None) -> None:
        page = None
        if rows is not None:
            rows = [row for row in rows if row.seq <= head]
            page = self._batch(rows, after=first, upto=head)
            if _is_full(page):
                page.upto = rows[-1].seq
            if clock == self._log.removals.clock:  # else it may hold what is gone
                self._kept[first] = page
                self._kept.move_to_end(first)
            while len(self._kept) > PAGES or self.size_bytes > PAGES_BYTES:
                self._kept.popitem(last=False)
        for position, deliver in self._waiting.pop(first, ()):
            if page is not None and page.upto <= position and _is_full(page):
                self._read(position, position, deliver)
            else:
                deliver(page, clock)

    def _submit(
        self,
        read: Callable[[StoreReader], Sequence[Stored]],
        came: Callable[[Sequence[Stored] | None], None],
        *,
        after: int = 0,
    ) -> None:
        """Read, and hand on what *came*, all of it after seq *after*."""
        self.reads += 1
        loop = self._log.loop
        era = self._era

        def done(future: Future[Sequence[Stored]]) -> None:
            if not future.cancelled():
                self._log.call_threadsafe(wait, future)

        def wait(future: Future[Sequence[Stored]]) -> None:
            unnoted = self._log.removals.unnoted(after)
            if unnoted is None:
                answer(future)
            else:
                unnoted.add_done_callback(lambda _: answer(future))

        def answer(future: Future[Sequence[Stored]]) -> None:
            error = future.exception()
            if error is None:
                came(future.result() if era == self._era else None)
                return
            self.failures += 1
            if isinstance(error, StoreCorrupt):
                self._log.writer.damaged(str(error))
            logger.warning("reading the log failed: %s; trying again", error)
            loop.call_later(RETRY_S, came, None)

        self._pool.submit(self._with_reader, read).add_done_callback(done)

    def _with_reader(self, read: Callable[[StoreReader], T]) -> T:
        reader: StoreReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._log.store.reader()
            self._readers.append(reader)
        return read(reader)

    def _batch(self, rows: Sequence[Stored], *, after: int, upto: int) -> Batch:
        return Batch(
            after=after,
            upto=upto,
            seqs=[row.seq for row in rows],
            topics=[row.topic for row in rows],
            data=[row.data for row in rows],
            shelf=self._log.shelf,
        )


def _is_full(page: Batch) -> bool:
    """Whether it ends where it had to: more may follow before the head."""
    return len(page) >= PAGE_EVENTS or page.size_bytes >= PAGE_BYTES
