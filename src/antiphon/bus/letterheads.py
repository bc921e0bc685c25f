"""Who may publish to what, decided once for each pair of principal and topic."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.bus.access import Principal
from antiphon.bus.event_rules import may_not_publish
from antiphon.bus.quotas import Quotas
from antiphon.bus.schemas import Schemas
from antiphon.bus.topics import check_pattern, check_topic, matches
from antiphon.bus.wording import Letterhead

LETTERHEADS_KEPT = 100_000


class Letterheads:
    """A letterhead for each topic that a principal has published to.

    Beyond 100,000 all are forgotten, and made anew as they are asked for.

    Args:
        ephemeral: Patterns of topics whose events are handed on but not kept.
        schemas: Which payloads topics take; ``forget`` what was decided when they change.

    Raises:
        InvalidPattern: One of *ephemeral* is none.
    """

    def __init__(self, ephemeral: Sequence[str], schemas: Schemas) -> None:
        self._ephemeral = tuple(check_pattern(pattern) for pattern in ephemeral)
        self._schemas = schemas
        self._of: dict[Principal, dict[str, Letterhead]] = {}
        self._count = 0
        self._writer: Principal | None = None  # who asked last, and what is kept for them
        self._kept: dict[str, Letterhead] = {}

    def of(self, topic: str, principal: Principal, quotas: Quotas | None) -> Letterhead:
        """What is known of *topic* for *principal*.

        Args:
            quotas: What they count a new topic against; None: it is not counted.

        Raises:
            InvalidTopic, Forbidden, BadRequest: It is none, not theirs, or one too many.
        """
        if principal is not self._writer:
            self._writer = principal
            self._kept = self._of.setdefault(principal, {})
        try:
            head = self._kept.get(topic)
        except TypeError:  # a topic that can't be hashed is no topic
            head = None
        if head is None:
            check_topic(topic)
            if not principal.access.may_publish(topic):
                raise may_not_publish(principal, topic)
            ephemeral = any(matches(pattern, topic) for pattern in self._ephemeral)
            if quotas is not None and not ephemeral:
                quotas.check_topic(principal, topic)
            schemas = self._schemas.of(topic)
            head = Letterhead.of(topic, principal, ephemeral=ephemeral, schemas=schemas)
            self._keep(head, topic, principal)
        return head

    def forget(self) -> None:
        """Decide all anew."""
        self._of.clear()
        self._count = 0
        self._writer = None

    def _keep(self, head: Letterhead, topic: str, principal: Principal) -> None:
        if self._count >= LETTERHEADS_KEPT:
            self.forget()
            self._writer = principal
            self._kept = self._of[principal] = {}
        self._count += 1
        self._kept[topic] = head
