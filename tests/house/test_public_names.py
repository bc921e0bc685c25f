"""Every package says what is public, and that is what is there."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import antiphon


def packages() -> list[str]:
    found = pkgutil.walk_packages(antiphon.__path__, "antiphon.")
    return ["antiphon", *(module.name for module in found if module.ispkg)]


@pytest.mark.parametrize("name", packages())
def test_what_a_package_names_as_public_exists_once(name: str) -> None:
    package = importlib.import_module(name)
    public = list(getattr(package, "__all__", []))
    assert len(public) == len(set(public))
    missing = [one for one in public if not hasattr(package, one)]
    assert not missing


@pytest.mark.parametrize("name", packages())
def test_a_package_that_only_gathers_binds_nothing_beyond_its_public_names(name: str) -> None:
    package = importlib.import_module(name)
    bound = {
        one: value
        for one, value in vars(package).items()
        if not one.startswith("_") and not isinstance(value, ModuleType) and one != "annotations"
    }
    own = [one for one, value in bound.items() if getattr(value, "__module__", None) == name]
    if not own and name != "antiphon":
        assert set(bound) <= set(getattr(package, "__all__", []))


def test_the_front_door_opens_to_each_of_its_names_and_to_no_other() -> None:
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    with pytest.raises(AttributeError):
        _ = antiphon.no_such_name
