"""The gateway's bounds and times, in one place; docs/gateway.md tells them to users."""

from __future__ import annotations

from antiphon.bus.event_rules import EVENT_BYTES
from antiphon.bus.patterns import PATTERNS
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
DELAY_MS = 24 * 3600 * 1000
"""Longest wait that a client may ask for before an event comes again."""
CONNECTIONS = 4096
SOCKETS = 1024
TOKEN_SOCKETS = 64

TINY_BYTES = 64
TINY_CHUNKS = 4096
IDLE_FRAMES = 1000
IDLE_FRAMES_PER_S = 100

FLUSH_EVENTS = 128
FLUSH_BYTES = 64 * 1024

HELLO_S = 10.0
PING_S = 25.0
PONG_S = 10.0
LEASE_S = 60.0
"""A durable subscription is lost to a connection that is not seen for so long; it is seen at
each ping, and ends by itself long before."""
COMMENT_S = 15.0
"""An event stream says something at least so often."""
CUT_S = 1.0
"""An event stream that must end and whose client doesn't read is cut off after so long."""
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
