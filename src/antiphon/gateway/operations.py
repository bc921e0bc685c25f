"""The HTTP side as a table: each operation with its path, its right, and what goes in and out.

Routing, the check of rights and the OpenAPI document are all made from these, so they
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from antiphon.bus import Access, Principal
from antiphon.errors import BadRequest, Forbidden, cut
from antiphon.gateway.bodies import keep_body
from antiphon.gateway.holds import Pass
from antiphon.gateway.limits import BODY_BYTES
from antiphon.gateway.traffic import VISIT, Visit

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
KnownHandler: TypeAlias = Callable[[Request, Principal], Awaitable[Response]]

NOBODY = Principal("nobody", Access())
"""Who asks where nobody is asked for a token."""


class Right(Enum):
    """What an operation asks of the asker."""

    ANYBODY = auto()
    """Nothing, not even a token."""
    KNOWN = auto()
    """A token; what it may see decides about the rest."""
    WORKER = auto()
    """The role ``worker``: whoever starts programs can do what the server's user can."""
    ADMIN = auto()
    """To be an admin: the admin token, or the role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a query.

    Attributes:
        kind: Its type: ``str``, ``int``, ``datetime`` or a Literal.
    """

    name: str
    about: str
    kind: Any = str
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A body that is not plain JSON.

    Attributes:
        media: Its content type.
        kind: Its type, as it reads in JSON; ``str`` for text.
    """

    media: str
    kind: Any = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        path: As Starlette writes it; a ``{name:path}`` takes slashes.
        summary: One line for people.
        about: What else they should know, in Markdown.
        parts: What stands in the path, in order.
        body: The type of the JSON body; None if there is none.
        optional_body: It may be absent.
        body_bytes: It has so many at most.
        answers: The type of the JSON answer; None if there is none.
        status: Of the answer when all went well.
        query: Its parameters; any other is refused.
        codes: Refusals of its own, beside those that every operation knows.
        takes: What the body can be besides *body*.
        gives: What the answer can be besides *answers*.
        gives_headers: Headers of its answer, with what they say.
    """

    method: str
    path: str
    summary: str
    handle: KnownHandler
    right: Right = Right.KNOWN
    body: Any = None
    optional_body: bool = False
    body_bytes: int = BODY_BYTES
    answers: Any = None
    status: int = 200
    query: tuple[Parameter, ...] = ()
    codes: tuple[str, ...] = ()
    about: str = ""
    parts: tuple[Parameter, ...] = ()
    takes: tuple[Content, ...] = ()
    gives: tuple[Content, ...] = ()
    gives_headers: tuple[Parameter, ...] = ()

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.method} {self.path.replace(':path}', '}')}"

    @property
    def reads_body(self) -> bool:
        """Whether a request is answered only once its body is there."""
        return self.body is not None or self.optional_body or bool(self.takes)


def check_right(operation: Operation, principal: Principal) -> None:
    """Let *principal* pass, or not.

    Raises:
        Forbidden: The operation needs a right that it doesn't have.
    """
    if principal.access.admin or operation.right in (Right.ANYBODY, Right.KNOWN):
        return
    role = operation.right.name.lower()
    if operation.right is Right.ADMIN or role not in principal.roles:
        raise Forbidden(
            f"{operation.method} {operation.path} needs the role {role}, {principal.name} lacks it"
        )


def check_query(operation: Operation, names: Iterable[str]) -> None:
    """Let the query pass whose parameters have these *names*, or not.

    Raises:
        BadRequest: One is unknown to the operation, or is given twice and no list.
    """
    known = {parameter.name: parameter for parameter in operation.query}
    seen: set[str] = set()
    for name in names:
        if name not in known:
            others = f"known are {', '.join(known)}" if known else "none are known"
            raise BadRequest(f"unknown parameter {cut(name)}, {others}", value=name)
        if name in seen and not known[name].repeated:
            raise BadRequest(f"{name} is given twice", value=name)
        seen.add(name)


def keep_pass(request: Request, passed: Pass) -> None:
    """Let handlers know by which token the request came."""
    request.state.passed = passed


def pass_of(request: Request) -> Pass:
    """The token by which *request* came, of an operation that isn't for anybody.

    What answers for long lets ``Auth.hold`` end it with the token.
    """
    passed = request.state.passed
    assert isinstance(passed, Pass)
    return passed


def routes(
    operations: Iterable[Operation], who: Callable[[Operation, Request], Principal]
) -> list[Route]:
    """A route for each path; a wrong method is answered 405 with all that are there.

    Args:
        who: Whose request it is.

    Raises:
        BusError: By *who*: the asker may not.
    """
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [_route(path, methods, who) for path, methods in by_path.items()]


def _route(
    path: str, methods: dict[str, Operation], who: Callable[[Operation, Request], Principal]
) -> Route:
    names = {method: operation.name for method, operation in methods.items()}

    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = methods[method]
        request.scope.setdefault(VISIT, Visit()).operation = names[method]
        principal = who(operation, request)
        if operation.reads_body:
            await keep_body(request, limit=operation.body_bytes)
            principal = who(operation, request)  # whose it is now: a body may come slowly
        check_query(operation, (name for name, _ in request.query_params.multi_items()))
        return await operation.handle(request, principal)

    return Route(path, answer, methods=list(methods))
