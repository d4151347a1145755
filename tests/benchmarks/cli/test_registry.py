"""Benchmarks by name: one's own from "package.module:Class", and what is wrong with it in words."""

import sys
from types import ModuleType

import pytest

from benchmarks.cli.registry import build
from evalkit.errors import UsageError


class Own:
    """A benchmark that knows no miniature world."""

    name = "own"

    def items(self): ...
    def prompt(self, item): ...
    def score(self, item, response, reply=None): ...
    def settings(self): ...


@pytest.fixture
def own(monkeypatch):
    module = ModuleType("own_benchmark")
    module.Own = Own
    monkeypatch.setitem(sys.modules, "own_benchmark", module)
    return "own_benchmark:Own"


def test_a_benchmark_of_ones_own_is_built(own):
    assert isinstance(build(own, {}), Own)


def test_one_without_a_miniature_world_is_refused_on_it(own, tmp_path):
    with pytest.raises(UsageError, match="no `miniature` constructor"):
        build(own, {}, tmp_path)
