"""The HTTP side of a server, called from plain threads.

One connection, kept open. Events come back as the bytes that the server
wrote, so that whoever prints or stores them changes nothing; decode them with
``msgspec.json.decode(data, type=Event)``.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from antiphon.client.endpoint import Endpoint, NoServer, reason
from antiphon.client.problems import error_from
from antiphon.client.results import error_of, read_result
from antiphon.client.writing import written, written_or_refused
from antiphon.errors import BusError
from antiphon.messages import (
    ActorInfo,
    DurableInfo,
    EventIn,
    Forget,
    Forgotten,
    Health,
    Level,
    Problem,
    Published,
    Refused,
    Resume,
    Resumed,
    RetentionInfo,
    SubscriptionInfo,
    TokenCreate,
    TokenInfo,
    TokenIssued,
    TopicInfo,
    WorkerInfo,
    WorkerStart,
)

T = TypeVar("T")

PAGE_EVENTS = 500
"""The most events that the server gives in one page."""
TOPICS = 10_000
"""The most topics of one list."""


class RawPage(NamedTuple):
    """A page of a query: each event as the server wrote it, and where to go on."""

    events: list[bytes]
    cursor: str
    next: str | None


class _Page(msgspec.Struct, frozen=True):
    events: list[msgspec.Raw]
    cursor: str
    next: str | None = None


class _Results(msgspec.Struct, frozen=True):
    results: list[msgspec.Raw]


class HttpClient:
    """Asks one server, one request at a time; not for several threads at once.

    Args:
        endpoint: The server and the token.
        timeout: Seconds to wait for the connection and for each answer.

    Raises:
        NoServer: By every method: nobody answered.
        BusError: By every method: the server refused, and this is its reason.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float = 30.0) -> None:
        self.endpoint = endpoint
        self._connection = _connection(endpoint, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    # --- events ------------------------------------------------------------------------------

    def publish(self, event: EventIn, *, level: Level = "synced") -> Published:
        """Publish one event; it is stored when this returns, as *level* says."""
        body = self.post(f"/v1/events?level={level}", written(event))
        return _result(body)

    def publish_many(
        self, events: Sequence[EventIn], *, level: Level = "synced"
    ) -> list[Published | Refused]:
        """Publish up to 1,000 events, in order; each has its own result."""
        made = [written_or_refused(event) for event in events]
        sent = [one for one in made if isinstance(one, bytes)]
        if not sent:
            return [one for one in made if isinstance(one, Refused)]
        body = self.post(f"/v1/events?level={level}", b"[%b]" % b",".join(sent))
        answers = iter(_decode(body, _Results).results)
        return [
            one if isinstance(one, Refused) else _published_or_refused(next(answers))
            for one in made
        ]

    def query(
        self,
        patterns: Sequence[str] = (),
        *,
        after: str | int | None = None,
        before: str | int | None = None,
        order: str | None = None,
        since: str | None = None,
        until: str | None = None,
        type: str | None = None,
        source: str | None = None,
        correlation_id: str | None = None,
        limit: int | None = None,
    ) -> RawPage:
        """Read one page of stored events, as ``GET /v1/events`` describes it."""
        wanted: list[tuple[str, object]] = [("pattern", pattern) for pattern in patterns]
        wanted += [
            ("after", after),
            ("before", before),
            ("order", order),
            ("since", since),
            ("until", until),
            ("type", type),
            ("source", source),
            ("correlation_id", correlation_id),
            ("limit", limit),
        ]
        page = _decode(self.get(_path("/v1/events", wanted)), _Page)
        return RawPage([bytes(raw) for raw in page.events], page.cursor, page.next)

    def pages(self, patterns: Sequence[str] = (), **wanted: Any) -> Iterator[RawPage]:
        """Read page after page, oldest first, until there are no more."""
        while True:
            page = self.query(patterns, **wanted)
            yield page
            if page.next is None:
                return
            wanted["after"] = page.next

    def event(self, seq: int) -> bytes:
        """Read one event."""
        return self.get(f"/v1/events/{seq}")

    # --- what exists -------------------------------------------------------------------------

    def health(self) -> Health:
        """Ask whether the server is up; needs no token."""
        return _decode(self.get("/health"), Health)

    def topics(self, patterns: Sequence[str] = ()) -> list[TopicInfo]:
        """List the topics in the log."""
        wanted: list[tuple[str, object]] = [("pattern", pattern) for pattern in patterns]
        wanted.append(("limit", TOPICS))
        found: list[TopicInfo] = []
        while True:
            after = [("after", found[-1].name)] if found else []
            page = _decode(self.get(_path("/v1/topics", [*wanted, *after])), list[TopicInfo])
            found += page
            if len(page) < TOPICS:
                return found

    def schemas(self) -> dict[str, Any]:
        """Read the JSON schema of each pattern that has one."""
        return _decode(self.get("/v1/schemas"), dict[str, Any])

    def set_schema(self, pattern: str, schema: bytes) -> None:
        """Let topics of *pattern* take only payloads that fit *schema*, JSON as it is written."""
        self._ask("PUT", f"/v1/schemas/{quote(pattern, safe='')}", schema)

    def remove_schema(self, pattern: str) -> None:
        """Take the schema of *pattern* away."""
        self._ask("DELETE", f"/v1/schemas/{quote(pattern, safe='')}", None)

    def retention(self) -> RetentionInfo:
        """Read the policies, what they hold, and what goes when."""
        return _decode(self.get("/v1/retention"), RetentionInfo)

    def forget(self, ask: Forget) -> Forgotten:
        """Remove events for good, or count them."""
        return _decode(self.post("/v1/forget", msgspec.json.encode(ask)), Forgotten)

    def subscriptions(self) -> list[SubscriptionInfo]:
        """List what clients are subscribed to now; not an admin's token: its own clients."""
        return _decode(self.get("/v1/subscriptions"), list[SubscriptionInfo])

    def durables(self) -> list[DurableInfo]:
        """List the durable subscriptions and groups; not an admin's token: its own."""
        return _decode(self.get("/v1/durables"), list[DurableInfo])

    def drop_durable(self, name: str) -> None:
        """Forget a durable subscription for good."""
        self._ask("DELETE", f"/v1/durables/{quote(name, safe='')}", None)

    def resume_durable(self, name: str, *, skip: bool = False) -> bool:
        """Let a durable subscription that stopped go on; False if it had not stopped."""
        ask = msgspec.json.encode(Resume(skip=skip))
        return _decode(
            self.post(f"/v1/durables/{quote(name, safe='')}/resume", ask), Resumed
        ).resumed

    def actors(self) -> list[ActorInfo]:
        """List the living actors, parents before children."""
        return _decode(self.get("/v1/actors"), list[ActorInfo])

    def kill(self, key: str) -> None:
        """Let an actor crash; its supervisor decides what follows."""
        self.post(f"/v1/actors/{quote(key, safe='')}/kill", b"{}")

    def workers(self) -> list[WorkerInfo]:
        """List the workers."""
        return _decode(self.get("/v1/workers"), list[WorkerInfo])

    def start_worker(self, start: WorkerStart) -> WorkerInfo:
        """Start a supervised command; returns at once."""
        return _decode(self.post("/v1/workers", msgspec.json.encode(start)), WorkerInfo)

    def stop_worker(self, name: str) -> None:
        """Ask for the end of a worker and all its processes."""
        self._ask("DELETE", f"/v1/workers/{quote(name, safe='')}", None)

    def status(self) -> dict[str, Any]:
        """Read the server's state on one screen."""
        return _decode(self.get("/v1/status"), dict[str, Any])

    def shutdown(self) -> None:
        """Ask the server to end in order; it does so after its answer."""
        self.post("/v1/shutdown", b"{}")

    # --- tokens ------------------------------------------------------------------------------

    def me(self) -> TokenInfo:
        """Read whose token this is, and what it opens."""
        return _decode(self.get("/v1/me"), TokenInfo)

    def tokens(self) -> list[TokenInfo]:
        """List the issued tokens."""
        return _decode(self.get("/v1/tokens"), list[TokenInfo])

    def create_token(self, ask: TokenCreate) -> TokenIssued:
        """Issue a token, or replace one."""
        return _decode(self.post("/v1/tokens", msgspec.json.encode(ask)), TokenIssued)

    def revoke_token(self, name: str) -> None:
        """End a token and all connections that are open by it."""
        self._ask("DELETE", f"/v1/tokens/{quote(name, safe='')}", None)

    def rotate_admin_token(self) -> TokenIssued:
        """Replace the admin token; this client's own, so the next request needs the new one."""
        return _decode(self.post("/v1/admin-token", b"{}"), TokenIssued)

    # --- requests ----------------------------------------------------------------------------

    def get(self, path: str) -> bytes:
        """Send a GET, once more if an idle connection turned out to be closed."""
        reused = self._connection.sock is not None
        try:
            return self._ask("GET", path, None)
        except NoServer:
            if not reused:
                raise
            return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> bytes:
        """Send a POST of JSON, once."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        answer, data = self._exchange(method, path, body)
        if answer.status >= 400:
            raise _refusal(answer, data)
        return data

    def _exchange(
        self, method: str, path: str, body: bytes | None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        sent = False
        try:
            if self._connection.sock is None:
                self._connection.connect()
            sent = True
            self._connection.request(method, path, body, self._headers(body))
            answer = self._connection.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise NoServer(self._broken(error, sent), sent=sent) from error

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.endpoint.token is not None:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        return headers

    def _broken(self, error: Exception, sent: bool) -> str:
        if sent:
            return f"lost the server at {self.endpoint.url}: {reason(error)}"
        return f"no server answers at {self.endpoint.url}: {reason(error)}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    if endpoint.unix_path is not None:
        return _UnixConnection(endpoint.unix_path, timeout=timeout)
    context = endpoint.tls()
    if context is None:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)
    return http.client.HTTPSConnection(
        endpoint.host, endpoint.port, timeout=timeout, context=context
    )


def _path(path: str, wanted: Sequence[tuple[str, object]]) -> str:
    given = [(name, value) for name, value in wanted if value is not None]
    return f"{path}?{urlencode(given)}" if given else path


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise BusError(f"the answer is not this protocol's: {error}") from error


def _result(data: bytes) -> Published:
    """Take the one result of a publish of one."""
    results = _decode(data, _Results).results
    if len(results) != 1:
        raise BusError(f"expected one result, got {len(results)}")
    outcome = _published_or_refused(results[0])
    if isinstance(outcome, Refused):
        raise error_of(outcome)
    return outcome


def _published_or_refused(raw: msgspec.Raw) -> Published | Refused:
    try:
        return read_result(raw)
    except msgspec.DecodeError as error:
        raise BusError(f"the answer is not this protocol's: {error}") from error


def _refusal(answer: http.client.HTTPResponse, data: bytes) -> BusError:
    try:
        problem = msgspec.json.decode(data, type=Problem)
    except msgspec.DecodeError:
        return BusError(f"the server answered {answer.status} {answer.reason}")
    return error_from(
        problem.code,
        problem.detail,
        value=problem.value,
        limit=problem.limit,
        retry_after_ms=problem.retry_after_ms,
        last_seq=problem.last_seq,
        first=problem.first,
        last=problem.last,
        cursor=problem.cursor,
    )
