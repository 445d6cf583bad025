"""The ranges of pyproject.toml are what is tested: its oldest versions by `make oldest`, its newest by `make test`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES: dict[str, SpecifierSet] = {canonicalize_name(each.name): each.specifier for each in map(Requirement, PROJECT["dependencies"])}
RANGES |= {
    canonicalize_name(each.name): each.specifier for name in ("peft", "tune") for each in map(Requirement, PROJECT["optional-dependencies"][name])
}


def pinned(file: str) -> dict[str, Version]:
    """Library -> version."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines]
    return {canonicalize_name(each[1]): Version(each[2]) for each in found if each}


OLDEST, NEWEST = pinned("constraints-oldest.txt"), pinned("constraints.txt")


@pytest.mark.parametrize("name", sorted(RANGES))
def test_the_oldest_version_is_the_bound_and_the_newest_is_inside(name: str) -> None:
    (lowest,) = (Version(each.version) for each in RANGES[name] if each.operator == ">=")
    assert OLDEST[name].release[: len(lowest.release)] == lowest.release
    assert NEWEST[name] in RANGES[name]
    assert OLDEST[name] <= NEWEST[name]


@pytest.mark.parametrize("name", ["transformers", "peft"])
def test_no_release_after_the_newest_tested_one_is_claimed(name: str) -> None:
    major, minor = NEWEST[name].release[:2]
    assert Version(f"{major}.{minor}.99") in RANGES[name]
    assert Version(f"{major}.{minor + 1}") not in RANGES[name]


def test_what_the_tests_use_is_pinned_too() -> None:
    tools = {canonicalize_name(Requirement(each).name) for each in PROJECT["optional-dependencies"]["dev"]}
    assert {"pytest", "hypothesis"} <= tools & set(OLDEST)
    assert tools <= set(NEWEST)
