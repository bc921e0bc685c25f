"""A log and its readers agree with a plain list, whatever happens in whatever order."""

import os

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .machines import Readers


def explore(examples: int) -> None:
    """Try so many lives; the same ones in every run, unless ``ANTIPHON_SEED`` is set."""
    run_state_machine_as_test(
        Readers,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize="ANTIPHON_SEED" not in os.environ,
            database=None,
        ),
    )


def test_readers_agree_with_a_plain_list() -> None:
    explore(60)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_readers_agree_with_a_plain_list_in_many_more_lives() -> None:
    explore(800)
