"""The events that Antiphon itself writes: where, of which type, and what their payloads have."""

from __future__ import annotations

from typing import Any, NamedTuple

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
MAYBE = {"type": ["string", "null"]}
FLAG = {"type": "boolean"}
TEXTS = {"type": "array", "items": TEXT}
ANY: dict[str, Any] = {}


class OwnEvent(NamedTuple):
    """One kind of event.

    Attributes:
        topic: With ``{name}`` for what differs.
        payload: The schema of each field that may be there.
    """

    topic: str
    type: str
    about: str
    payload: dict[str, Any]


ENDED = {"exit_code": WHOLE, "signal": WHOLE, "ran_ms": WHOLE, "starts": WHOLE}
LIFE = {"generation": WHOLE, "folded": WHOLE}
TOKEN = {
    "token": TEXT,
    "id": TEXT,
    "pub": TEXTS,
    "sub": TEXTS,
    "deny": TEXTS,
    "roles": TEXTS,
    "expires": MAYBE,
    "by": MAYBE,
}
WORKER = {"worker": TEXT, "run": TEXT, "by": TEXT}
FILE = {"path": TEXT, "size_bytes": WHOLE, "mtime": MAYBE, "ignored": FLAG}

OWN_EVENTS = (
    OwnEvent(
        "worker.{id}.spawned",
        "worker_spawned",
        "A worker's command was started.",
        {"argv": TEXTS, "cwd": TEXT, "pid": WHOLE, "start": WHOLE, "restart": TEXT},
    ),
    OwnEvent(
        "worker.{id}.progress",
        "worker_progress",
        "Lines that it wrote.",
        {
            "stream": TEXT,
            "lines": TEXTS,
            "from_line": WHOLE,
            "skipped_lines": WHOLE,
            "skipped_bytes": WHOLE,
        },
    ),
    OwnEvent(
        "worker.{id}.restarting",
        "worker_restarting",
        "It ended, and is started again.",
        {**ENDED, "reason": TEXT, "start": WHOLE, "next_start": WHOLE, "delay_ms": WHOLE},
    ),
    OwnEvent("worker.{id}.complete", "worker_complete", "It ended well.", ENDED),
    OwnEvent(
        "worker.{id}.failed",
        "worker_failed",
        "It ended badly, or could not be started.",
        {**ENDED, "reason": TEXT, "message": TEXT},
    ),
    OwnEvent(
        "worker.{id}.cancelled",
        "worker_cancelled",
        "It was ended, and nothing of it is left.",
        {**ENDED, "reason": TEXT},
    ),
    OwnEvent("file.created", "file_created", "A file of the workspace is new.", FILE),
    OwnEvent("file.changed", "file_changed", "A file of the workspace is another.", FILE),
    OwnEvent("file.deleted", "file_deleted", "A file of the workspace is gone.", FILE),
    OwnEvent("_sys.actors.{key}.started", "actor_started", "An actor runs.", LIFE),
    OwnEvent(
        "_sys.actors.{key}.restarted",
        "actor_restarted",
        "An actor is started again, in a while.",
        {**LIFE, "reason": TEXT, "delay_s": NUMBER},
    ),
    OwnEvent(
        "_sys.actors.{key}.failed",
        "actor_failed",
        "An actor's hook raised.",
        {**LIFE, "traceback": TEXT},
    ),
    OwnEvent(
        "_sys.actors.{key}.stopped",
        "actor_stopped",
        "An actor has ended for good.",
        {**LIFE, "reason": TEXT},
    ),
    OwnEvent(
        "_sys.actors.{key}.tripped",
        "actor_tripped",
        "A supervisor gave up: too many restarts.",
        {"error": TEXT},
    ),
    OwnEvent(
        "_sys.stats.actors",
        "actor_stats",
        "Every actor, once a second while anybody is subscribed; not kept.",
        {"actors": {"type": "array", "items": {"type": "object"}}, "left_out": WHOLE},
    ),
    OwnEvent(
        "_sys.audit.denied",
        "denied",
        "A request was turned away: at the door, for want of a token, or of a right.",
        {
            "kind": TEXT,
            "reason": TEXT,
            "path": TEXT,
            "principal": TEXT,
            "client": MAYBE,
            "also": WHOLE,
        },
    ),
    OwnEvent("_sys.audit.token.issued", "token_issued", "A token was issued.", TOKEN),
    OwnEvent("_sys.audit.token.replaced", "token_replaced", "A token took another's place.", TOKEN),
    OwnEvent("_sys.audit.token.revoked", "token_revoked", "A token was revoked.", TOKEN),
    OwnEvent("_sys.audit.token.expired", "token_expired", "A token came to its end.", TOKEN),
    OwnEvent(
        "_sys.audit.token.rotated", "token_rotated", "The admin token was replaced.", {"by": TEXT}
    ),
    OwnEvent(
        "_sys.audit.actor.killed",
        "actor_killed",
        "An actor was made to crash.",
        {"actor": TEXT, "by": TEXT},
    ),
    OwnEvent("_sys.audit.worker.started", "worker_started", "A worker was started.", WORKER),
    OwnEvent("_sys.audit.worker.stopped", "worker_stopped", "A worker was ended.", WORKER),
    OwnEvent(
        "_sys.audit.server.shutdown", "server_shutdown", "The server was shut down.", {"by": TEXT}
    ),
    OwnEvent(
        "_sys.audit.forgotten",
        "events_forgotten",
        "Events were removed for good.",
        {"principal": TEXT, "pattern": MAYBE, "id": MAYBE, "events": WHOLE},
    ),
    OwnEvent(
        "_sys.schemas",
        "custom.event",
        "A pattern's payloads must fit another schema, or none.",
        {"pattern": TEXT, "schema": ANY, "by": TEXT},
    ),
    OwnEvent(
        "_sys.store.warning",
        "store_warning",
        "Disk or retention is near a bound.",
        {"about": TEXT, "message": TEXT, "pattern": TEXT},
    ),
    OwnEvent(
        "_sys.dlq.{name}",
        "custom.parked",
        "An event that no holder of the durable subscription could handle.",
        {"durable": TEXT, "event": {"type": "object"}, "tries": WHOLE, "reason": TEXT},
    ),
    OwnEvent(
        "_sys.durables.{name}.expired",
        "custom.news",
        "A durable subscription that nobody held for long was forgotten.",
        {"owner": TEXT, "patterns": TEXTS, "position": WHOLE},
    ),
    OwnEvent(
        "_sys.durables.{name}.stopped",
        "custom.news",
        "A durable subscription stands still at an event that failed too often.",
        {"seq": WHOLE, "reason": TEXT},
    ),
)
