"""The patterns of one request, as far as a principal may use them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.bus.access import Principal
from antiphon.bus.topics import check_pattern
from antiphon.errors import Forbidden, InvalidPattern, cut

PATTERNS = 32


def check_patterns(
    patterns: Sequence[str], principal: Principal, *, narrow: bool = False
) -> tuple[str, ...]:
    """The patterns, checked, each once, sorted.

    Args:
        narrow: Leave out, instead of refusing, what the principal may not see.

    Raises:
        InvalidPattern: One is no pattern, there are none, or more than 32.
        Forbidden: The principal's access doesn't cover one (with *narrow*: meets none).
    """
    if isinstance(patterns, str):
        raise InvalidPattern(f"patterns are a list, got {cut(patterns)} alone", value=patterns)
    if not 1 <= len(patterns) <= PATTERNS:
        raise InvalidPattern(
            f"a subscription takes 1 to {PATTERNS} patterns, got {len(patterns)}",
            limit=PATTERNS,
        )
    checked = sorted({check_pattern(pattern) for pattern in patterns})
    if narrow:
        checked = sorted(set(principal.access.narrow(checked)))
        if not checked:
            asked = cut(", ".join(patterns))
            raise Forbidden(f"{principal.name} may see nothing of {asked}", value=asked)
        return tuple(checked)
    for pattern in checked:
        if not principal.access.may_subscribe(pattern):
            raise Forbidden(f"{principal.name} may not subscribe to {pattern}", value=pattern)
    return tuple(checked)
