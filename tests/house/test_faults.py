"""The known faults fit the sources and name tests that are there; ``make faults`` runs them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("faults", ROOT / "tools" / "faults.py")
assert _spec is not None
assert _spec.loader is not None
faults = importlib.util.module_from_spec(_spec)
__import__("sys").modules["faults"] = faults
_spec.loader.exec_module(faults)

KNOWN = faults.faults()


@pytest.mark.parametrize("fault", KNOWN, ids=lambda fault: fault.name)
def test_a_fault_has_its_place_and_its_test(fault: object) -> None:
    applied = fault.applied()  # type: ignore[attr-defined]
    if fault.file.endswith(".py"):  # type: ignore[attr-defined]
        compile(applied, fault.file, "exec")  # type: ignore[attr-defined]
    file, _, test = fault.test.partition("::")  # type: ignore[attr-defined]
    assert f"def {test}(" in (ROOT / file).read_text("utf-8")


def test_there_are_enough_of_them() -> None:
    assert len(KNOWN) >= 25


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_tenth_of_them_is_seen() -> None:
    for fault in KNOWN[::10]:
        assert faults.is_seen(fault), fault.what
