"""schemathesis speaks to a live server by its OpenAPI document, with good data and bad."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


BY_HAND = frozenset({"POST /v1/admin-token"})
"""It replaces the token that all of this speaks with; tests of tokens ask for it."""


async def speak(desk: Any, mode: GenerationMode, examples: int, *, seed: int | None = None) -> int:
    """Send *examples* of each operation; how many operations there were.

    All that went wrong is raised together. An operation of which nothing can be wrong has
    no negative data.
    """
    schema = schemathesis.openapi.from_dict(await desk.get("/openapi.json", token=None))
    wrong: list[BaseException] = []
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        streams = "text/event-stream" in str(operation.definition.raw.get("responses"))
        if streams or operation.label in BY_HAND:
            continue  # of a stream: nothing here could wait for the end of its answer
        check = _checking(desk, operation.as_strategy(generation_mode=mode), mode, examples, seed)
        try:
            await asyncio.to_thread(check)
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, operation.label
            continue
        except BaseException as error:
            wrong.append(error)
        count += 1
    await desk.get("/v1/topics")  # the token is good to the end, or most was refused by 401
    if wrong:
        raise BaseExceptionGroup(f"{len(wrong)} of {count} operations", wrong)
    return count


def _checking(
    desk: Any, strategy: Any, mode: GenerationMode, examples: int, seed: int | None
) -> Any:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def check(case: Any) -> None:
        response = case.call(
            base_url=f"http://127.0.0.1:{desk.port}",
            headers={"Authorization": f"Bearer {desk.token}"},
            timeout=10,
        )
        # Of a list each bad event is refused by a result of its own.
        strict = mode is GenerationMode.NEGATIVE and not isinstance(case.body, list)
        checks = [*CHECKS, negative_data_rejection] if strict else CHECKS
        case.validate_response(response, checks=checks)

    return check


@pytest.mark.long
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_every_operation_answers_as_its_document_says(
    desk: Any, mode: GenerationMode
) -> None:
    assert await speak(desk, mode, 3) > 15


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_many_more_requests_are_answered_as_the_document_says(
    desk: Any, mode: GenerationMode
) -> None:
    assert await speak(desk, mode, 150, seed=1) > 15
