"""What a subscription tells its subscriber besides events."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.actors import Notice


@dataclass(frozen=True, slots=True)
class BusNotice(Notice):
    """A notice of one subscription, named by ``sid``."""

    sid: str


@dataclass(frozen=True, slots=True)
class Gap(BusNotice):
    """Events with seqs in ``first``..``last`` that the subscription matches were trimmed."""

    first: int
    last: int
    cursor: str


@dataclass(frozen=True, slots=True)
class Reset(BusNotice):
    """The cursor given belongs to another history; reading goes on at ``cursor``."""

    message: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Lag(BusNotice):
    """So many ephemeral events were dropped for this subscriber since the last notice."""

    dropped: int


@dataclass(frozen=True, slots=True)
class Ended(BusNotice):
    """A durable subscription brings this actor nothing more: the lease ended, by ``code``.

    ``subscribe`` again, if that is the way on.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Live(BusNotice):
    """The subscription has caught up with the head."""
