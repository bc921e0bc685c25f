"""The gateway's bounds and times, in one place; docs/gateway.md tells them to users."""

from __future__ import annotations

from antiphon.bus.bus import PATTERNS
from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.messages import Limits

FRAME_BYTES = 1024 * 1024
SUBSCRIPTIONS = 128
PUBLISH_EVENTS = 1000
WINDOW = 10_000
TOPICS = 10_000
"""Of one list."""
BODY_BYTES = 4 * 1024 * 1024
LOGIN_BYTES = 4 * 1024
HEADERS_BYTES = 64 * 1024
CONNECTIONS = 4096
SOCKETS = 1024

TINY_BYTES = 64
TINY_CHUNKS = 4096
IDLE_FRAMES = 1000
IDLE_FRAMES_PER_S = 100

FLUSH_EVENTS = 128
FLUSH_BYTES = 64 * 1024

HELLO_S = 10.0
PING_S = 25.0
PONG_S = 10.0
HANDSHAKE_S = 10.0
"""Of TLS, before there are headers."""
HEADERS_S = 10.0
BODY_S = 30.0
WRITE_S = 30.0

LIMITS = Limits(
    frame_bytes=FRAME_BYTES,
    event_bytes=EVENT_BYTES,
    subscriptions=SUBSCRIPTIONS,
    patterns=PATTERNS,
    publish_events=PUBLISH_EVENTS,
    window=WINDOW,
)
