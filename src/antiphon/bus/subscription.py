"""A subscription: a cursor over the ring and the log, not a queue.

It reads "after my position" from the ring, or from pages of the log if it has
fallen off. At the head it parks: then it costs nothing until a batch holds
something for it. All of it runs in ticks of one event loop, so "is there more?"
and "I am parked" can't race with a commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from antiphon.bus.access import Access
from antiphon.bus.batch import Audience, Batch, Cut, Slice, Standing, View
from antiphon.bus.ephemeral import EphemeralQueue
from antiphon.bus.notices import BusNotice, Gap, Lag, Live, Reset
from antiphon.bus.position import Start

if TYPE_CHECKING:
    from antiphon.bus.log import Log

SLICE_EVENTS = 256
SLICE_BYTES = 1024 * 1024
READ_AGAIN = 3
"""How often a page is read anew since more was trimmed meanwhile, before it is taken as it is."""
SCAN_BATCHES = 1024
"""Most batches looked through in one ``peek``, so that no peek holds up the loop."""


class Subscription:
    """One reader's place in the log, and what it may see.

    Reading is a pull: ``take`` gives a slice, a notice, or None; after None,
    ``on_ready`` is called once when there is something again. ``peek`` and
    ``advance`` are the two halves of ``take``, for readers that count an event
    as read only when it was handled.

    Attributes:
        position: The last seq scanned; None of its later events were handed out.
        live: It has caught up once, and since then only committed batches came.
    """

    def __init__(
        self,
        log: Log,
        sid: str,
        audience: Audience,
        start: Start,
        on_ready: Callable[[], None],
        trim_clock: int,
        ephemeral: EphemeralQueue | None,
        *,
        owner: str = "",
    ) -> None:
        self._log = log
        self.sid = sid
        self.audience = audience
        self.owner = owner
        self.live = False
        self.closed = False
        self._behind = 0  # ephemeral events that it missed as it was behind, of earlier audiences
        self._heard = log.offers[audience]  # of its audience's offers; the others it missed
        self._on_ready = on_ready
        self._position = start.position
        self._trim_clock = trim_clock
        self._parked = False
        self._waiting = False  # for a page that is being read
        self._read_again = 0  # how often, as trimming went on meanwhile
        self._page: Batch | None = None  # to be entered once the gap before it was told
        self._idle = False  # peek answered None; on_ready is owed
        self._index: int | None = None  # of the next batch in the ring
        self._view: View | None = None
        self._offset = 0
        self._notices: deque[BusNotice] = deque()
        self._declines = ephemeral is None
        self._ephemeral = EphemeralQueue() if ephemeral is None else ephemeral
        self._handing: View | None = None  # an ephemeral event, peeked
        self._snapshot = start.last
        self._in_snapshot = False  # the view holds the newest of each topic, not what follows
        self._stale = False  # the view may hold what was forgotten or revoked since
        self._forgotten: frozenset[int] = frozenset()
        if start.reset is not None:
            self._notices.append(Reset(sid, start.reset, log.cursor(start.position)))

    @property
    def patterns(self) -> tuple[str, ...]:
        return self.audience.patterns

    @property
    def position(self) -> int:
        """The last seq scanned; for a parked subscription that is the head."""
        return self._log.head if self._parked else self._position

    @property
    def cursor(self) -> str:
        return self._log.cursor(self.position)

    @property
    def missed(self) -> int:
        """Ephemeral events that came while it was behind or had no room, in all."""
        return self._behind + self._unheard + self._ephemeral.dropped

    @property
    def _unheard(self) -> int:
        over = self.closed or self._declines
        return 0 if over else self._log.offers[self.audience] - self._heard

    @property
    def conflated(self) -> int:
        """Ephemeral events whose place a newer one of their topic took, in all."""
        return self._ephemeral.replaced

    # --- reading ------------------------------------------------------------------------

    def take(
        self, limit: int = SLICE_EVENTS, max_bytes: int = SLICE_BYTES
    ) -> Slice | BusNotice | None:
        """The next slice, counted as read, or a notice, or None: nothing now."""
        taken = self.peek(limit, max_bytes)
        if isinstance(taken, Slice):
            self.advance(len(taken))
        return taken

    def peek(
        self, limit: int = SLICE_EVENTS, max_bytes: int = SLICE_BYTES
    ) -> Slice | BusNotice | None:
        """The next slice without counting it as read; notices are handed out once."""
        if self._notices:
            return self._notices.popleft()
        if self.closed:
            return None
        if self._handing is not None:
            return self._passing(self._handing)
        if self._stale:
            self._renew()
        if self._view is None and not self._parked:
            self._seek()
            if self._notices:
                return self._notices.popleft()
        if self._view is not None:
            return self._slice(self._view, limit, max_bytes)
        if lag := self._ephemeral.take_lag():
            return Lag(self.sid, lag)
        if self._ephemeral:
            self._handing = self._ephemeral.take()
            return self._passing(self._handing)
        self._idle = True
        return None

    def advance(self, count: int) -> bool:
        """Count the first *count* events of the peeked slice as read.

        False: nothing is left, as if ``peek`` had said None. A live reader parks right
        here, so that a batch costs it one look and not two.
        """
        self._log.delivered += count
        view = self._view
        if self._handing is not None or view is None:
            self._handing = None  # and a view that came since was not peeked yet
            return True
        self._offset += count
        if self._offset < len(view.data):
            if count:
                self._position = view.seqs[self._offset - 1]
            return True
        if self._stale and not self._in_snapshot:
            self._position = view.seqs[-1]  # what else it covers is looked at anew
            self._index = None
        else:
            self._position = view.batch.upto
        self._leave_view()
        owed = self._notices or self._ephemeral or not self.live
        if self._index != self._log.ring.end or owed or self.closed:
            return True
        self._parked = True
        self.audience.parked[self] = None
        self._idle = True
        return False

    def take_cut(
        self, limit: int = SLICE_EVENTS, max_bytes: int = SLICE_BYTES
    ) -> Cut | BusNotice | None:
        """As ``take``, but slices that follow each other come as one piece of wire JSON.

        It is put together once for all of an audience who take the same: a hundred sockets
        that read side by side cost little more than one.
        """
        if (known := self._known(limit, max_bytes)) is not None:
            return known
        head = self.peek(limit, max_bytes)
        if not isinstance(head, Slice):
            return head
        if head.ephemeral or self._in_snapshot:
            self.advance(len(head))
            seqs = [] if head.ephemeral else list(head.seqs)
            return Cut(head.joined(), seqs, self.position, self.cursor)
        cut = self._cut(head, limit, max_bytes)
        shared = self.audience.users > 1
        if shared and not (self._notices or self._waiting or self._stale or self.closed):
            standing = Standing(self._view, self._offset, self._index, self._position, self._parked)
            self.audience.remember((head.view, head.start, limit, max_bytes), cut, standing)
        return cut

    def _known(self, limit: int, max_bytes: int) -> Cut | None:
        """The cut that another of the audience took from here, if it did; counted as read."""
        view = self._view
        if view is None or self._notices or self._stale or self._in_snapshot or self._handing:
            return None
        known = self.audience.cuts.get((view, self._offset, limit, max_bytes))
        if known is None:
            return None
        self._stand(known[1])
        return known[0]

    def _cut(self, head: Slice, limit: int, max_bytes: int) -> Cut:
        parts, seqs, size = [head.joined()], list(head.seqs), 0
        while self.advance(len(head)):
            size += len(parts[-1])
            if len(seqs) >= limit or size >= max_bytes or not self._goes_on():
                break
            assert self._view is not None
            head = self._slice(self._view, limit - len(seqs), max_bytes - size)
            parts.append(head.joined())
            seqs += head.seqs
        return Cut(b",".join(parts), seqs, self.position, self.cursor)

    def _goes_on(self) -> bool:
        """Whether another slice follows at once, with nothing to be told before it."""
        if self._notices or self._stale or self.closed:
            return False
        if self._view is None and not self._parked:
            self._seek()
        return self._view is not None and not self._notices

    def _stand(self, standing: Standing) -> None:
        """Stand where another of the audience stands that took the same."""
        self._leave_view()
        self._view, self._offset, self._index, self._position, parked = standing
        owed = self._notices or self._ephemeral or not self.live
        if parked and self._index == self._log.ring.end and not owed:
            self._parked = True
            self.audience.parked[self] = None
            self._idle = True

    def _passing(self, view: View) -> Slice:
        return Slice(view, 0, len(view), self.position, ephemeral=True)

    def _leave_view(self) -> None:
        self._view = None
        self._offset = 0
        self._in_snapshot = self._stale = False
        self._forgotten = frozenset()

    def _renew(self) -> None:
        """Go on without what was forgotten or revoked since the view was made."""
        view, offset = self._view, self._offset
        if view is None or not self._in_snapshot:
            self._leave_view()
            self._index = None
            return
        read = view.seqs[offset - 1] if offset else 0
        batch = view.batch.without(self._forgotten)
        left = batch.view(self.audience)
        self._leave_view()
        if left is not None and left.seqs[-1] > read:
            self._view = left
            self._offset = sum(1 for seq in left.seqs if seq <= read)
            self._in_snapshot = True
        else:
            self._position = batch.upto

    def _slice(self, view: View, limit: int, max_bytes: int) -> Slice:
        start, size = self._offset, len(view.data)
        stop = size if size - start <= limit else start + limit
        if view.batch.size_bytes > max_bytes:
            taken = 0
            for at in range(start, stop):
                taken += len(view.data[at])
                if taken > max_bytes:
                    stop = max(at, start + 1)
                    break
        upto = view.batch.upto if stop == size else view.seqs[stop - 1]
        return Slice(view, start, stop, upto)

    def _seek(self) -> None:
        """Find the next batch with something to read, park, or wait for a page."""
        if self._waiting:
            return
        page, self._page = self._page, None
        if page is not None and self._enter(page):
            return
        if self._snapshot:
            self._waiting = True
            asked = self.audience
            self._log.pages.newest_of(
                asked, self._position, lambda *came: self._snapshot_came(asked, *came)
            )
            return
        ring = self._log.ring
        for _ in range(SCAN_BATCHES):
            if self._index is None:
                self._index = ring.index_after(self._position)
                if self._index is None:
                    self._want_page()
                    return
            if self._index >= ring.end:
                self._park()
                return
            batch = ring.get(self._index)
            if batch is None or batch.after > self._position:
                self._index = None  # it fell out of the ring meanwhile, or the ring was restarted
                continue
            self._index += 1
            if self._enter(batch):
                return
        self._log.call_soon(self.wake)

    def _enter(self, batch: Batch) -> bool:
        """Start reading *batch*; False, and past it, if nothing in it is for this reader."""
        view = batch.view(self.audience)
        if view is not None:
            offset = 0
            if batch.after < self._position:
                offset = sum(1 for seq in view.seqs if seq <= self._position)
            if offset < len(view):
                self._view = view
                self._offset = offset
                return True
        self._position = max(self._position, batch.upto)
        return False

    def _park(self) -> None:
        self._parked = True
        self.audience.parked[self] = None
        if not self.live:
            self.live = True
            self._notices.append(Live(self.sid))

    # --- the log calls these ------------------------------------------------------------

    def unpark(self, position: int, index: int | None, view: View | None = None) -> None:
        """A batch came that this subscription may read: *view* of it, after *position*.

        Args:
            index: Of the batch after it in the ring; None: find the place anew.
        """
        self._parked = False
        self._position = position
        self._index = index
        self._view = view
        self.wake()

    def offer(self, topic: str, view: View) -> None:
        """Keep an ephemeral event, by its policy. Only who is parked at the head gets one."""
        if self._declines:
            return
        self._heard += 1
        self._ephemeral.put(topic, view)
        self.wake()

    def forget(self, seqs: frozenset[int]) -> None:
        """These events were forgotten: they are handed out no more."""
        self._page = None
        self.audience.cuts.clear()
        if self._view is not None and not seqs.isdisjoint(self._view.seqs):
            self._stale = True
            self._forgotten |= seqs

    def regrant(self, access: Access) -> None:
        """See by *access* from now on; what is in hand is looked at anew."""
        before = self.audience
        if access == before.access or self.closed:
            return
        self._behind += self._unheard
        self.audience = self._log.audience(before.patterns, access)
        self.audience.users += 1
        self._heard = self._log.offers[self.audience]
        if before.parked.pop(self, self) is None:
            self.audience.parked[self] = None
        self._log.leave(before)
        self._page = None
        self._stale = self._view is not None
        self._ephemeral.look_again(lambda view: view.batch.view(self.audience))

    def wake(self) -> None:
        """Call ``on_ready`` if the reader was told None and not called since."""
        if self._idle and not self.closed:
            self._idle = False
            self._on_ready()

    def close(self) -> None:
        """Let go of the place; nothing is handed out after it."""
        if not self.closed:
            self._behind += self._unheard
            self.closed = True
            self._view = self._handing = self._page = None
            self._notices.clear()
            self._ephemeral.clear()
            self._log.drop(self)

    # --- pages --------------------------------------------------------------------------

    def _want_page(self) -> None:
        self.live = False
        self._waiting = True
        asked, pages = self.audience, self._log.pages
        pages.after(asked, self._position, lambda *came: self._page_came(asked, *came))

    def _page_came(self, asked: Audience, page: Batch | None, clock: int) -> None:
        """A page that reaches past the position; None, or for another audience: ask again.

        If more was trimmed while it was read, it is read again, so that a gap ends where
        the page begins; but not for ever, should the janitor be as fast as this reader.
        """
        self._waiting = False
        if self.closed:
            return
        if page is not None and self._view is None and asked is self.audience:
            trimmed = self._log.removals.trimmed_since(asked, clock) > self._position
            if trimmed and self._read_again < READ_AGAIN:
                self._read_again += 1
            else:
                self._read_again = 0
                gap = self._find_gap()
                if gap is None:
                    self._enter(page)
                else:
                    self._notices.append(gap)
                    self._page = page
        self.wake()

    def _snapshot_came(self, asked: Audience, page: Batch | None, _: int) -> None:
        self._waiting = False
        if self.closed:
            return
        if page is not None and asked is self.audience:
            self._snapshot = False
            view = page.view(self.audience)
            if view is not None:
                self._view = view
                self._offset = 0
                self._in_snapshot = True
        self.wake()

    def _find_gap(self) -> Gap | None:
        """What was trimmed after the position since this subscription last looked."""
        log = self._log
        if self._trim_clock == log.removals.clock:
            return None
        upto = log.removals.trimmed_since(self.audience, self._trim_clock)
        self._trim_clock = log.removals.clock
        if upto <= self._position:
            return None
        first = self._position + 1
        return Gap(self.sid, first, upto, log.cursor(self._position))
