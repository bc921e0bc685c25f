"""Bodies of the HTTP side that are not events themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from antiphon.messages.event import Event, Published, Refused


class PublishReply(msgspec.Struct, frozen=True, kw_only=True):
    """One result for each event, in the same order."""

    results: list[Published | Refused]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a query.

    Attributes:
        cursor: The position after the page, for a subscription or another query.
        next: Goes into the same query's ``after`` (or ``before``); null at the end.
    """

    events: list[Event]
    cursor: str
    next: str | None


class TopicInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One topic, as counted in the log."""

    name: str
    count: int
    size_bytes: int
    first_seq: int
    last_seq: int


class PolicyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of retention, what its topics hold, and what goes when.

    Attributes:
        limits: All of them, in one line for people.
        share: Used of ``max_bytes`` or ``max_count``, whichever is nearer; null without both.
        oldest: When the oldest event was recorded.
        next: When it goes by age.
        excess_events, excess_bytes: Over the limits now.
        due: Something is to go now.
        held: But durable subscriptions need it.
    """

    pattern: str
    limits: str
    max_age_s: float | None
    max_count: int | None
    max_bytes: int | None
    compact_by_key: bool
    hold_bytes: int
    topics: int
    events: int
    size_bytes: int
    share: float | None
    oldest: datetime | None
    next: datetime | None
    excess_events: int
    excess_bytes: int
    due: bool
    held: bool


class RetentionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """All policies, the most specific first.

    Attributes:
        doubt: Why nothing goes by age now; null if all is well.
        removed: Events removed since the start, by reason; ``topics`` counts topics.
        removed_bytes: Of all these events.
    """

    policies: list[PolicyInfo]
    doubt: str | None
    removed: dict[str, int]
    removed_bytes: int


class Forget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Remove events for good: those of the topics of a pattern, or those with an id.

    Attributes:
        dry_run: Only count them.
    """

    pattern: str | None = None
    id: str | None = None
    dry_run: bool = False


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, or would be.

    Attributes:
        scrubbed: No file of the log holds its bytes any more.
    """

    events: int
    size_bytes: int
    topics: int
    dry_run: bool = False
    scrubbed: bool = False


class DurableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One durable subscription, now.

    Attributes:
        state: ``idle`` (nobody holds it), ``held`` or ``stopped``.
        position: Every matching event up to this seq is settled.
        lag: Seqs between the position and the head, of whatever topics.
        holders: Their names.
        waiting, in_hand: Events read and not settled: in nobody's hand, in somebody's.
        stalls: How often, for this holder or group, too much was unsettled to read on.
        parked, lost: Events that went to ``_sys.dlq.NAME``; that were gone before they were
            settled.
        reason: Why it is stopped.
    """

    name: str
    owner: str
    patterns: list[str]
    state: str
    position: int
    lag: int
    members: int
    holders: list[str]
    waiting: int
    in_hand: int
    stalls: int
    parked: int
    lost: int
    reason: str | None = None


class SubscriptionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One subscription that a client has open.

    Attributes:
        conn: The connection: a WebSocket's actor, or ``stream/N``.
        durable: The name of the durable subscription that it holds, or of the group.
        position: The last seq scanned; of a durable one: everything up to it is settled.
        lag: Seqs between the position and the head, of whatever topics.
        window: Most events unacknowledged; null where none are acknowledged.
        unacked: Events sent and not acknowledged.
    """

    conn: str
    sid: str
    owner: str
    patterns: list[str]
    durable: str | None = None
    position: int
    lag: int
    window: int | None
    unacked: int


class Resume(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let a durable subscription go on with the event at which it stopped.

    Attributes:
        skip: Go on after it.
    """

    skip: bool = False


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        resumed: False if it had not stopped.
    """

    resumed: bool


class ActorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One actor, now.

    Attributes:
        key: Its path in the tree, such as ``log/store``.
        parent: The path of its supervisor; null for the root.
        depth, capacity: Messages waiting, and the bound.
        age_s: Seconds since this generation started.
        current: The type of the message being handled.
    """

    key: str
    parent: str | None
    state: str
    generation: int
    restarts: int
    depth: int
    capacity: int
    processed: int
    failed: int
    age_s: float
    current: str | None = None


WorkerState: TypeAlias = Literal["starting", "running", "waiting", "stopping", "ended"]
Restart: TypeAlias = Literal["never", "on-failure", "always"]


class WorkerStart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Start a supervised command.

    Attributes:
        argv: The program and its arguments; never a shell string.
        name: A topic token, unique among living workers; absent: a short id.
        cwd: Absolute folder to start in.
        env: The whole environment, beside what the server always sets.
        output: ``all`` keeps every line (a fast command is slowed down);
            ``tail`` keeps the newest lines and counts the rest.
        max_output_bytes: Past this much output the rest is folded as by ``tail``.
    """

    argv: list[str]
    name: str | None = None
    cwd: str | None = None
    env: dict[str, str] | None = None
    restart: Restart = "never"
    output: Literal["all", "tail"] = "all"
    max_output_bytes: int = 64 * 1024 * 1024
    correlation_id: str | None = None


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One living worker, or one that has just ended.

    Attributes:
        id: Its topics are ``worker.ID.*``.
        run: The id of this stay, the correlation id of its events.
        starts: How often its command was started.
        exit_code, signal: How the last run of its command ended.
    """

    id: str
    run: str
    argv: list[str]
    cwd: str
    state: WorkerState
    restart: Restart
    pid: int | None = None
    starts: int = 0
    age_s: float = 0.0
    lines: int = 0
    exit_code: int | None = None
    signal: int | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the server is up, and how its log is. What the log says is in ``/v1/status``."""

    status: Literal["ok", "degraded"]
    version: str
    head: int
    epoch: str
    store: str


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the page exchanges for a cookie."""

    token: str


Role: TypeAlias = Literal["worker", "terminal", "admin"]


class TokenCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Issue a token.

    Attributes:
        name: 1 to 64 of ``A-Z a-z 0-9 _ . -``; who shows the token is known by it.
        pub, sub, deny: Patterns, at most 32 each. With the role ``admin`` there are none.
        expires_in_s: Seconds that it is good for; absent: until it is revoked.
        replace: Take the place of the token of this name, with these rights.
        overlap_s: Seconds that the replaced one still opens, with the new rights.
    """

    name: str
    pub: list[str] = []
    sub: list[str] = []
    deny: list[str] = []
    roles: list[Role] = []
    expires_in_s: float | None = None
    replace: bool = False
    overlap_s: float = 0.0


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A token: whose it is, and what it opens; never itself.

    Attributes:
        id: The beginning of its hash: names it in lists and in audit events.
        expires: Null: never by itself.
        last_used: To the minute.
        previous_until: So long the token that this one replaced opens too.
    """

    name: str
    id: str
    pub: list[str]
    sub: list[str]
    deny: list[str]
    roles: list[Role]
    created: datetime | None = None
    expires: datetime | None = None
    last_used: datetime | None = None
    previous_until: datetime | None = None


class TokenIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A new token, in clear this once."""

    token: str
    info: TokenInfo


class Problem(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={"first": "from", "last": "to"},
):
    """An error, as RFC 9457 has it, with Antiphon's stable ``code``."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    value: str | None = None
    limit: int | None = None
    retry_after_ms: int | None = None
    last_seq: int | None = None
    first: int | None = None
    last: int | None = None
    cursor: str | None = None
