// Made by tools/protocol_types.py from antiphon.messages; change those, not this.

export const SUBPROTOCOL = "bus.v1.json";

/** The names of types that Antiphon itself uses; any other text is allowed too. */
export type EventType = "worker_spawned" | "worker_progress" | "worker_complete" | "worker_failed" | "worker_cancelled" | "finding_new" | "finding_updated" | "chat_message" | "chat_typing" | "file_changed" | "file_created" | "file_deleted" | "user_input" | "user_command" | "system_heartbeat" | "system_error" | "custom.event";

export type ClientFrame = Hello | Sub | Pub | Ack | Nack | Unsub | Refresh | Pong;

export type ServerFrame = Welcome | Ok | Err | Ev | Pos | Gap | Reset | Lag | Live | Ended | Ping | Bye;

export type Level = "synced" | "committed" | "none";

export type StartWord = "now" | "earliest" | "last";

export type WorkerState = "starting" | "running" | "waiting" | "stopping" | "ended";

/** Everything up to *seq* was consumed: the window opens. Of a durable one: *seq* alone. */
export interface Ack {
  readonly op: "ack";
  readonly sid: string;
  readonly seq: number;
}

/**
 * One actor, now.
 *
 * Attributes:
 *     key: Its path in the tree, such as ``log/store``.
 *     parent: The path of its supervisor; null for the root.
 *     depth, capacity: Messages waiting, and the bound.
 *     age_s: Seconds since this generation started.
 *     current: The type of the message being handled.
 */
export interface ActorInfo {
  readonly key: string;
  readonly parent: string | null;
  readonly state: string;
  readonly generation: number;
  readonly restarts: number;
  readonly depth: number;
  readonly capacity: number;
  readonly processed: number;
  readonly failed: number;
  readonly age_s: number;
  readonly current: string | null;
}

/**
 * The server closes next, with the close code *code*.
 *
 * Attributes:
 *     retry: Whether to connect again; codes 4000 to 4499 say yes, 4500 to 4999 no.
 */
export interface Bye {
  readonly op: "bye";
  readonly code: number;
  readonly reason: string;
  readonly retry: boolean;
}

/**
 * One durable subscription, now.
 *
 * Attributes:
 *     state: ``idle`` (nobody holds it), ``held`` or ``stopped``.
 *     position: Every matching event up to this seq is settled.
 *     lag: Seqs between the position and the head, of whatever topics.
 *     holders: Their names.
 *     waiting, in_hand: Events read and not settled: in nobody's hand, in somebody's.
 *     stalls: How often, for this holder or group, too much was unsettled to read on.
 *     parked, lost: Events that went to ``_sys.dlq.NAME``; that were gone before they were
 *         settled.
 *     reason: Why it is stopped.
 */
export interface DurableInfo {
  readonly name: string;
  readonly owner: string;
  readonly patterns: readonly string[];
  readonly state: string;
  readonly position: number;
  readonly lag: number;
  readonly members: number;
  readonly holders: readonly string[];
  readonly waiting: number;
  readonly in_hand: number;
  readonly stalls: number;
  readonly parked: number;
  readonly lost: number;
  readonly reason: string | null;
}

/**
 * The subscription brings nothing more, and its sid is free; what was in hand went back.
 *
 * Attributes:
 *     code: Such as ``lease_lost`` or ``durable_stopped``.
 */
export interface Ended {
  readonly op: "ended";
  readonly sid: string;
  readonly code: string;
  readonly message: string;
}

/** The request *id* was refused; id is None where the frame had none that could be read. */
export interface Err {
  readonly op: "err";
  readonly id: number | null;
  readonly code: string;
  readonly message: string;
  readonly value?: string | null;
  readonly limit?: number | null;
  readonly retry_after_ms?: number | null;
  readonly last_seq?: number | null;
}

/**
 * Events of one subscription, in order; ``cursor`` is the position after them.
 *
 * An event without ``seq`` is ephemeral; a frame holds only such or none.
 *
 * Attributes:
 *     cursor: Of a durable subscription: everything up to it is settled.
 *     attempts: Which try of each event this is: its failures, and one; absent: none failed.
 */
export interface Ev {
  readonly op: "ev";
  readonly sid: string;
  readonly events: readonly Event[];
  readonly cursor: string;
  readonly attempts?: readonly number[] | null;
}

/**
 * One event.
 *
 * Attributes:
 *     seq: Position in the log, from 1; None for an ephemeral event.
 *     id: 1 to 64 printable ASCII characters.
 *     topic: Where it was published.
 *     type: What kind it is.
 *     source: Who says so, a URI reference.
 *     principal: Who published it, as the server knows them.
 *     time: When it happened, by the publisher's clock, UTC.
 *     recorded: When it was stored, by the log's clock, UTC; never goes back.
 *     payload: Any JSON.
 *     correlation_id: The piece of work it belongs to.
 *     causation_id: The id of the event that led to it.
 *     key: What it is about, for compaction and partitioning.
 *     headers: Short texts for tools along the way.
 *
 * The garbage collector doesn't follow events (``gc=False``): they hold JSON, which has no
 * cycles, and a ring full of them would make each full collection a pause of 50 ms.
 */
export interface Event {
  readonly seq?: number | null;
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  readonly source: string;
  readonly principal: string;
  readonly time: string;
  readonly recorded?: string | null;
  readonly payload: unknown;
  readonly correlation_id?: string | null;
  readonly causation_id?: string | null;
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>> | null;
}

/**
 * An event as a publisher hands it in; ``topic`` alone is enough.
 *
 * Attributes:
 *     id: Given: the publish is idempotent. Absent: the server makes one.
 *     expect_last_seq: Store it only if the topic's last seq is this; 0: if the topic
 *         never had an event.
 */
export interface EventIn {
  readonly topic: string;
  readonly payload?: unknown;
  readonly id?: string | null;
  readonly type?: string;
  readonly source?: string | null;
  readonly time?: string | null;
  readonly correlation_id?: string | null;
  readonly causation_id?: string | null;
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>> | null;
  readonly expect_last_seq?: number | null;
}

/**
 * A page of a query.
 *
 * Attributes:
 *     cursor: The position after the page, for a subscription or another query.
 *     next: Goes into the same query's ``after`` (or ``before``); null at the end.
 */
export interface EventPage {
  readonly events: readonly Event[];
  readonly cursor: string;
  readonly next: string | null;
}

/**
 * Why one event was refused.
 *
 * Attributes:
 *     last_seq: Of the topic, for ``wrong_expected_seq``.
 */
export interface Fault {
  readonly code: string;
  readonly message: string;
  readonly value?: string | null;
  readonly limit?: number | null;
  readonly retry_after_ms?: number | null;
  readonly last_seq?: number | null;
}

/**
 * Remove events for good: those of the topics of a pattern, or those with an id.
 *
 * Attributes:
 *     dry_run: Only count them.
 */
export interface Forget {
  readonly pattern?: string | null;
  readonly id?: string | null;
  readonly dry_run?: boolean;
}

/**
 * What was removed, or would be.
 *
 * Attributes:
 *     scrubbed: No file of the log holds its bytes any more.
 */
export interface Forgotten {
  readonly events: number;
  readonly size_bytes: number;
  readonly topics: number;
  readonly dry_run: boolean;
  readonly scrubbed: boolean;
}

/** Events that this subscription matches were trimmed; it goes on at *cursor*. */
export interface Gap {
  readonly op: "gap";
  readonly sid: string;
  readonly from: number;
  readonly to: number;
  readonly cursor: string;
}

/** Whether the server is up, and how its log is. What the log says is in ``/v1/status``. */
export interface Health {
  readonly status: "ok" | "degraded";
  readonly version: string;
  readonly head: number;
  readonly epoch: string;
  readonly store: string;
}

/** The first frame, within 10 s. With a cookie the token may be absent. */
export interface Hello {
  readonly op: "hello";
  readonly v: number;
  readonly token?: string | null;
}

/** So many ephemeral events were dropped. */
export interface Lag {
  readonly op: "lag";
  readonly sid: string;
  readonly dropped: number;
}

/** What the server will not exceed. */
export interface Limits {
  readonly frame_bytes: number;
  readonly event_bytes: number;
  readonly subscriptions: number;
  readonly patterns: number;
  readonly publish_events: number;
  readonly window: number;
}

/** The subscription has caught up; what follows is live. */
export interface Live {
  readonly op: "live";
  readonly sid: string;
}

/** What the page exchanges for a cookie. */
export interface Login {
  readonly token: string;
}

/**
 * An event of a durable subscription failed: it comes again, or is given up.
 *
 * Attributes:
 *     delay_ms: Until then; absent: 1 s, doubled with each failure, 60 s at most.
 *     reason: Kept with it, should it be given up.
 *     id: Answered by ``ok`` if it is there: the later events of its lane that came before
 *         that answer are not in hand any more, those after it are.
 */
export interface Nack {
  readonly op: "nack";
  readonly sid: string;
  readonly seq: number;
  readonly delay_ms?: number | null;
  readonly reason?: string;
  readonly id?: number | null;
}

/**
 * The request *id* was done: ``pos`` and ``effective`` for sub, ``results`` for pub.
 *
 * Attributes:
 *     pos: Where the subscription starts; None for ``last``, whose snapshot comes first. Of
 *         a durable one: everything up to it is settled.
 *     effective: Its patterns, as they were granted.
 *     fence: Of a durable one: a number that grows with every holder, so that what is guarded
 *         by it can refuse a holder that was replaced and doesn't know it yet.
 */
export interface Ok {
  readonly op: "ok";
  readonly id: number;
  readonly pos?: string | null;
  readonly effective?: readonly string[] | null;
  readonly fence?: number | null;
  readonly results?: readonly (Published | Refused)[] | null;
}

/** Answer with ``pong``. */
export interface Ping {
  readonly op: "ping";
}

/**
 * One policy of retention, what its topics hold, and what goes when.
 *
 * Attributes:
 *     limits: All of them, in one line for people.
 *     share: Used of ``max_bytes`` or ``max_count``, whichever is nearer; null without both.
 *     oldest: When the oldest event was recorded.
 *     next: When it goes by age.
 *     excess_events, excess_bytes: Over the limits now.
 *     due: Something is to go now.
 *     held: But durable subscriptions need it.
 */
export interface PolicyInfo {
  readonly pattern: string;
  readonly limits: string;
  readonly max_age_s: number | null;
  readonly max_count: number | null;
  readonly max_bytes: number | null;
  readonly compact_by_key: boolean;
  readonly hold_bytes: number;
  readonly topics: number;
  readonly events: number;
  readonly size_bytes: number;
  readonly share: number | null;
  readonly oldest: string | null;
  readonly next: string | null;
  readonly excess_events: number;
  readonly excess_bytes: number;
  readonly due: boolean;
  readonly held: boolean;
}

/** The answer to ``ping``, within 10 s. */
export interface Pong {
  readonly op: "pong";
}

/** The subscription has scanned up to *cursor* and found nothing more for it. */
export interface Pos {
  readonly op: "pos";
  readonly sid: string;
  readonly cursor: string;
}

/** An error, as RFC 9457 has it, with Antiphon's stable ``code``. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly value?: string | null;
  readonly limit?: number | null;
  readonly retry_after_ms?: number | null;
  readonly last_seq?: number | null;
  readonly from?: number | null;
  readonly to?: number | null;
  readonly cursor?: string | null;
}

/** Publish one event or several, in order. */
export interface Pub {
  readonly op: "pub";
  readonly id: number;
  readonly events: readonly EventIn[];
  readonly level?: "synced" | "committed" | "none";
}

/** One result for each event, in the same order. */
export interface PublishReply {
  readonly results: readonly (Published | Refused)[];
}

/**
 * An event was taken.
 *
 * Attributes:
 *     seq, cursor: Its position; None at level ``none`` and for ephemeral events.
 *     duplicate: The same event had been taken before; seq is that one's.
 *     level: What was reached.
 */
export interface Published {
  readonly id: string;
  readonly seq: number | null;
  readonly cursor?: string | null;
  readonly duplicate?: boolean;
  readonly level?: "synced" | "committed" | "none";
}

/** Go on by another token of the same name: the present one will end. */
export interface Refresh {
  readonly op: "refresh";
  readonly id: number;
  readonly token: string;
}

/** One event of several was refused; the others were not touched by that. */
export interface Refused {
  readonly id: string | null;
  readonly error: Fault;
}

/** The cursor given is of another history; forget what it brought, it goes on at *cursor*. */
export interface Reset {
  readonly op: "reset";
  readonly sid: string;
  readonly message: string;
  readonly cursor: string;
}

/**
 * Let a durable subscription go on with the event at which it stopped.
 *
 * Attributes:
 *     skip: Go on after it.
 */
export interface Resume {
  readonly skip?: boolean;
}

/**
 * What came of it.
 *
 * Attributes:
 *     resumed: False if it had not stopped.
 */
export interface Resumed {
  readonly resumed: boolean;
}

/**
 * All policies, the most specific first.
 *
 * Attributes:
 *     doubt: Why nothing goes by age now; null if all is well.
 *     removed: Events removed since the start, by reason; ``topics`` counts topics.
 *     removed_bytes: Of all these events.
 */
export interface RetentionInfo {
  readonly policies: readonly PolicyInfo[];
  readonly doubt: string | null;
  readonly removed: Readonly<Record<string, number>>;
  readonly removed_bytes: number;
}

/**
 * Open a subscription at ``after`` (a cursor, or a bare seq) or ``from`` (a start word).
 *
 * With ``durable`` or ``group`` it is one that has a name and keeps its place; where to
 * start counts only for a new one.
 *
 * Attributes:
 *     patterns: May be left out for a durable one that is there.
 *     narrow: Take what the token allows of the patterns, in place of ``forbidden``.
 *     window: Most events sent and not yet acknowledged.
 *     durable: Hold the durable subscription of this name, alone.
 *     group: Join the group of this name.
 *     member: The holder's name, which decides its share of a group; the same one again
 *         gets the same share. Absent: one of the server's making.
 *     tries: After so many failures an event is given up.
 *     on_exhausted: Then it goes to ``_sys.dlq.NAME``, or the subscription stops there.
 */
export interface Sub {
  readonly op: "sub";
  readonly id: number;
  readonly sid: string;
  readonly patterns?: readonly string[];
  readonly after?: string | number | null;
  readonly from?: "now" | "earliest" | "last" | null;
  readonly narrow?: boolean;
  readonly window?: number;
  readonly durable?: string | null;
  readonly group?: string | null;
  readonly member?: string | null;
  readonly tries?: number | null;
  readonly on_exhausted?: "park" | "stop" | null;
}

/**
 * One subscription that a client has open.
 *
 * Attributes:
 *     conn: The connection: a WebSocket's actor, or ``stream/N``.
 *     durable: The name of the durable subscription that it holds, or of the group.
 *     position: The last seq scanned; of a durable one: everything up to it is settled.
 *     lag: Seqs between the position and the head, of whatever topics.
 *     window: Most events unacknowledged; null where none are acknowledged.
 *     unacked: Events sent and not acknowledged.
 */
export interface SubscriptionInfo {
  readonly conn: string;
  readonly sid: string;
  readonly owner: string;
  readonly patterns: readonly string[];
  readonly durable: string | null;
  readonly position: number;
  readonly lag: number;
  readonly window: number | null;
  readonly unacked: number;
}

/**
 * Issue a token.
 *
 * Attributes:
 *     name: 1 to 64 of ``A-Z a-z 0-9 _ . -``; who shows the token is known by it.
 *     pub, sub, deny: Patterns, at most 32 each. With the role ``admin`` there are none.
 *     expires_in_s: Seconds that it is good for; absent: until it is revoked.
 *     replace: Take the place of the token of this name, with these rights.
 *     overlap_s: Seconds that the replaced one still opens, with the new rights.
 */
export interface TokenCreate {
  readonly name: string;
  readonly pub?: readonly string[];
  readonly sub?: readonly string[];
  readonly deny?: readonly string[];
  readonly roles?: readonly ("worker" | "terminal" | "admin")[];
  readonly expires_in_s?: number | null;
  readonly replace?: boolean;
  readonly overlap_s?: number;
}

/**
 * A token: whose it is, and what it opens; never itself.
 *
 * Attributes:
 *     id: The beginning of its hash: names it in lists and in audit events.
 *     expires: Null: never by itself.
 *     last_used: To the minute.
 *     previous_until: So long the token that this one replaced opens too.
 */
export interface TokenInfo {
  readonly name: string;
  readonly id: string;
  readonly pub: readonly string[];
  readonly sub: readonly string[];
  readonly deny: readonly string[];
  readonly roles: readonly ("worker" | "terminal" | "admin")[];
  readonly created: string | null;
  readonly expires: string | null;
  readonly last_used: string | null;
  readonly previous_until: string | null;
}

/** A new token, in clear this once. */
export interface TokenIssued {
  readonly token: string;
  readonly info: TokenInfo;
}

/** One topic, as counted in the log. */
export interface TopicInfo {
  readonly name: string;
  readonly count: number;
  readonly size_bytes: number;
  readonly first_seq: number;
  readonly last_seq: number;
}

/** Close a subscription. */
export interface Unsub {
  readonly op: "unsub";
  readonly id: number;
  readonly sid: string;
}

/**
 * The handshake is done.
 *
 * Attributes:
 *     conn: This connection's name, also its actor's key.
 *     epoch, head: The log's present incarnation and last seq.
 *     ping_ms: How often ``ping`` comes.
 */
export interface Welcome {
  readonly op: "welcome";
  readonly conn: string;
  readonly epoch: string;
  readonly head: number;
  readonly limits: Limits;
  readonly ping_ms: number;
}

/**
 * One living worker, or one that has just ended.
 *
 * Attributes:
 *     id: Its topics are ``worker.ID.*``.
 *     run: The id of this stay, the correlation id of its events.
 *     starts: How often its command was started.
 *     exit_code, signal: How the last run of its command ended.
 */
export interface WorkerInfo {
  readonly id: string;
  readonly run: string;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly state: "starting" | "running" | "waiting" | "stopping" | "ended";
  readonly restart: "never" | "on-failure" | "always";
  readonly pid: number | null;
  readonly starts: number;
  readonly age_s: number;
  readonly lines: number;
  readonly exit_code: number | null;
  readonly signal: number | null;
}

/**
 * Start a supervised command.
 *
 * Attributes:
 *     argv: The program and its arguments; never a shell string.
 *     name: A topic token, unique among living workers; absent: a short id.
 *     cwd: Absolute folder to start in.
 *     env: The whole environment, beside what the server always sets.
 *     output: ``all`` keeps every line (a fast command is slowed down);
 *         ``tail`` keeps the newest lines and counts the rest.
 *     max_output_bytes: Past this much output the rest is folded as by ``tail``.
 */
export interface WorkerStart {
  readonly argv: readonly string[];
  readonly name?: string | null;
  readonly cwd?: string | null;
  readonly env?: Readonly<Record<string, string>> | null;
  readonly restart?: "never" | "on-failure" | "always";
  readonly output?: "all" | "tail";
  readonly max_output_bytes?: number;
  readonly correlation_id?: string | null;
}
