"""The one writer: a thread that turns whatever waits into one durable batch at a time.

Group commit: it drains the intake, gives seqs, and stores the batch in one
transaction; a slow fsync makes bigger batches by itself. Each finished batch
goes to the loop by one ``call_soon_threadsafe``. What a batch answers to each
publish is decided in ``settle.py``, purely.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from antiphon.bus.intake import Pending
from antiphon.bus.settle import Settled, expecting, given_keys, outside, settle, unavailable
from antiphon.bus.store import (
    EventStore,
    GivenIdTaken,
    Opened,
    Row,
    StoreCorrupt,
    Stored,
    StoreStatus,
    StoreUnavailable,
)

logger = logging.getLogger(__name__)

LINGER_S = 0.004
"""Between the starts of two batches while events come at more than about 2,000 a second."""
BUSY_BATCH = 8
BATCH_EVENTS = 4096
BATCH_BYTES = 8 * 1024 * 1024
TEND_S = 0.2
IDLE_S = 2.0
PROBE_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
UNKNOWN = "outcome unknown, repeat with the same id"

T = TypeVar("T")


class Writer:
    """Owns the store's writing side and its thread.

    Between ``park`` and ``adopt`` it holds still, with the intake kept. It never
    raises into the loop: storage errors are outcomes of publishes; a bug in our own
    code parks it and is told to *on_crash*.

    Args:
        announce: Called in the loop with each settled batch, in order.
        on_state: Called in the loop when ``status`` changed.
        on_crash: Called in the loop with the exception of a bug.
        post: ``loop.call_soon_threadsafe``, or what stands for it.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        post: Callable[..., Any],
        announce: Callable[[Settled], None],
        on_state: Callable[[], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        self.store = store
        self.status = StoreStatus()
        self.intake: deque[Pending] = deque()
        self.head = 0
        self.batches = 0
        self._recorded_us = 0
        self._post = post
        self._announce = announce
        self._on_state = on_state
        self._on_crash = on_crash
        self._stating = threading.Lock()
        self._wake = threading.Event()
        self._sleeping = False
        self._park = threading.Event()
        self._parked = threading.Event()
        self._resume = threading.Event()
        self._stop = False
        self._in_hand: list[Pending] = []
        self._tried: Settled | None = None
        self._jobs: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    # --- from the loop ------------------------------------------------------------------

    def open(self) -> Opened:
        """Open the store and start the thread. Blocks; call it off the loop, once."""
        opened = self.store.open()
        self.head = opened.head
        self._recorded_us = opened.recorded_us
        self.status.state = "ok"
        self._thread = threading.Thread(target=self._run, name="antiphon-writer", daemon=True)
        self._thread.start()
        return opened

    def put(self, pending: Pending) -> None:
        """Queue one event; never blocks."""
        self.intake.append(pending)
        if self._sleeping:
            self._wake.set()

    def job(self, work: Callable[[], None]) -> None:
        """Run *work* in the writer's thread between batches."""
        self._jobs.append(work)
        self._wake.set()

    def damaged(self, why: str) -> None:
        """Write nothing more: the file is damaged, whoever met it. From any thread."""
        self._set_state("corrupt", why)

    def take(self, rows: Sequence[Row], recorded_us: int) -> int:
        """Store rows that got their seqs elsewhere, and announce them; the new head.

        In the writer's thread, as a ``job``.

        Raises:
            ValueError: Their seqs don't ascend from the head on.
            StoreUnavailable, StoreCorrupt: As by the store; if the outcome is unknown, the
                head tells.
        """
        taken = outside(rows, self.head)
        try:
            self.store.append(rows, recorded_us)
        except StoreUnavailable as error:
            if error.unknown:
                self.store.reopen()
                self.head = self.store.head()
            raise
        self._recorded_us = max(self._recorded_us, recorded_us)
        self._committed(taken)
        return self.head

    def park(self) -> None:
        """Hold still after the batch in hand."""
        self._resume.clear()
        self._park.set()
        self._wake.set()

    def adopt(self, timeout: float) -> bool:
        """Wait until it holds still, then let it go on. Blocks; False if it never parked."""
        self.park()
        if not self._parked.wait(timeout):
            return False
        self._parked.clear()
        self._park.clear()
        self._resume.set()
        return True

    def end(self) -> None:
        """Let the thread store or refuse what waits, close the store and end; never blocks."""
        self._stop = True
        self._park.clear()
        self._resume.set()
        self._wake.set()

    def left(self) -> Settled:
        """The answer to what waits yet, when the thread can't give it; see ``_finish``."""
        left = [*self._in_hand, *self.intake]
        return unavailable(left, self.head, f"the log has ended; {UNKNOWN}", retry_after_ms=1000)

    def close(self, timeout: float) -> bool:
        """As ``end``, and wait for it. Blocks; False if it hung."""
        self.end()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    # --- the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        started = 0.0
        busy = False
        while not (self._stop and self._in_hand):  # which nobody can ask about any more
            try:
                if self._park.is_set():
                    self._hold()
                    continue
                if self._in_hand:
                    self._take_up()
                    continue
                if busy and not self._stop:
                    time.sleep(max(0.0, started + LINGER_S - time.monotonic()))
                elif not self.intake and not self._jobs:
                    if self._stop:
                        break
                    self._rest()
                    continue
                started = time.monotonic()
                busy = self._one_batch() >= BUSY_BATCH
                if self._in_hand:
                    continue
                while self._jobs:
                    self._jobs.popleft()()
                self._tend(idle=False)
            except Exception as bug:
                self._crashed(bug)
                busy = False
                if self._stop:
                    break
        self._finish()

    def _rest(self) -> None:
        """Sleep until something waits; look after the store meanwhile."""
        idle = 0.0
        while not (self._stop or self._park.is_set() or self._jobs):
            self._sleeping = True
            if not self.intake:
                self._wake.wait(TEND_S if idle < IDLE_S else 30.0)
            self._sleeping = False
            self._wake.clear()
            if self.intake:
                return
            idle += TEND_S
            if idle <= IDLE_S + TEND_S:
                self._tend(idle=idle >= IDLE_S)

    def _tend(self, *, idle: bool) -> None:
        try:
            self.store.tend(idle=idle)
        except StoreUnavailable as error:
            logger.warning("upkeep of the log was put off: %s", error)
        except StoreCorrupt as error:
            self.damaged(str(error))

    def _hold(self) -> None:
        self._set_state("parked", None)
        self._parked.set()
        self._resume.wait()
        self._resume.clear()
        if not self._stop:
            self._take_up()

    def _take_up(self) -> None:
        """Go on after a park. The head on disk says what became of a batch in hand."""
        batch, tried = self._in_hand, self._tried
        try:
            head = self._head_on_disk()
        except StoreCorrupt as error:
            self.damaged(str(error))
            head = self.head
        if head is None:
            return
        self._set_state("ok", None)
        if batch and tried is not None and tried.rows and head >= tried.upto:
            self._committed(tried)
        elif batch and self.status.state == "corrupt":
            self._give_up(batch)
        elif batch:
            self._store(batch)

    def _one_batch(self) -> int:
        """Store the next batch; how many events it had."""
        batch: list[Pending] = []
        size = 0
        intake = self.intake
        while intake and len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
            pending = intake.popleft()
            size += len(pending.body)
            batch.append(pending)
        if batch:
            self._store(batch)
        return len(batch)

    def _store(self, batch: list[Pending]) -> None:
        self._in_hand, self._tried = batch, None
        if self.status.state == "corrupt":
            self._give_up(batch)
            return
        try:
            self._try_to_store(batch)
        except StoreCorrupt as error:
            self.damaged(str(error))
            self._give_up(batch)

    def _try_to_store(self, batch: list[Pending]) -> None:
        self._recorded_us = max(self._recorded_us, time.time_ns() // 1000)
        existing: Mapping[tuple[str, str], Stored] = {}
        last_seqs: Mapping[str, int] | None = None
        asked: Sequence[Pending] = ()  # whose given ids are to be looked up
        while True:
            settled: Settled | None = None
            try:
                if asked:
                    existing = self.store.find_given(given_keys(asked))
                    asked = ()
                settled = settle(batch, self.head, self._recorded_us, existing, last_seqs)
                self._tried = settled
                if settled is None:
                    asked = expecting(batch)
                    last_seqs = self.store.last_seqs({pending.topic for pending in asked})
                    continue
                if settled.rows:
                    self.store.append(settled.rows, self._recorded_us)
                break
            except GivenIdTaken:
                asked = batch
            except StoreUnavailable as error:
                if settled is None or not error.unknown:
                    self._refuse(batch, error)
                    return
                head = self._head_on_disk()
                if head is None:
                    return  # it stays in hand
                if head >= settled.upto:
                    break
        self._committed(settled)

    def _committed(self, settled: Settled) -> None:
        self.head = settled.upto
        self.batches += 1
        self._tell(settled)

    def _give_up(self, batch: list[Pending]) -> None:
        """Refuse the batch because the log is damaged."""
        why = self.status.message or "the log is damaged"
        if self._tried is not None and self._tried.rows:
            why = f"{why}; {UNKNOWN}"
        self._tell(unavailable(batch, self.head, why, retry_after_ms=30_000))

    def _refuse(self, batch: list[Pending], error: StoreUnavailable) -> None:
        """Answer the batch, then probe until the disk takes writes again."""
        self._set_state("unavailable", str(error))
        self._tell(unavailable(batch, self.head, str(error), retry_after_ms=1000))
        try:
            if self._probe(error, self._try_to_write) is not None:
                self._set_state("ok", None)
        except StoreCorrupt as worse:
            self.damaged(str(worse))

    def _try_to_write(self) -> bool:
        self.store.reopen()
        self.store.append((), self._recorded_us)
        return True

    def _head_on_disk(self) -> int | None:
        """The head, as soon as the disk can be asked; None if a park or the end came first."""
        try:
            return self._ask_head()
        except StoreUnavailable as error:
            head = self._probe(error, self._ask_head)
        if head is not None:
            self._set_state("ok", None)
        return head

    def _ask_head(self) -> int:
        self.store.reopen()
        return self.store.head()

    def _probe(self, error: StoreUnavailable, ask: Callable[[], T]) -> T | None:
        """Ask again until the disk lets it; meanwhile refuse what comes, but not what is in hand.

        None: it has to hold still, or to end.
        """
        attempt = 0
        while not (self._stop or self._park.is_set()):
            self._set_state("unavailable", str(error))
            self._refuse_waiting(str(error))
            self._pause(attempt)
            attempt += 1
            try:
                return ask()
            except StoreUnavailable as again:
                error = again
        return None

    def _refuse_waiting(self, why: str) -> None:
        waiting: list[Pending] = []
        while self.intake:  # one by one: another may be put at any moment
            waiting.append(self.intake.popleft())
        if waiting:
            self._post(self._announce, unavailable(waiting, self.head, why, retry_after_ms=1000))

    def _pause(self, attempt: int) -> None:
        self._sleeping = False
        self._wake.wait(PROBE_S[min(attempt, len(PROBE_S) - 1)])
        self._wake.clear()

    def _tell(self, settled: Settled) -> None:
        self._in_hand, self._tried = [], None
        self._post(self._announce, settled)

    def _set_state(self, state: str, message: str | None) -> None:
        """What is damaged stays so, whatever another thread says of the disk meanwhile."""
        with self._stating:
            before = self.status.state, self.status.message
            if before == (state, message) or (before[0] == "corrupt" and state != "closed"):
                return
            self.status.state, self.status.message = state, message
        if message is not None and state != before[0]:
            logger.error("the log is %s: %s", state, message)
        self._post(self._on_state)

    def _crashed(self, bug: BaseException) -> None:
        """A bug of ours: hold still with the batch in hand until a new owner adopts."""
        logger.error("the log's writer failed", exc_info=bug)
        self.park()
        self._post(self._on_crash, bug)

    def _finish(self) -> None:
        """Answer whoever is left, and close the store. What was in hand may be stored."""
        left = self.left()
        self.intake.clear()
        if left.refused:
            self._tell(left)
        while self._jobs:
            self._jobs.popleft()()
        try:
            self.store.close()
        except Exception:
            logger.exception("closing the log failed")
        self._set_state("closed", None)
