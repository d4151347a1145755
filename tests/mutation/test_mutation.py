"""The table of planted faults fits the sources, and a fault that nobody notices is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutation.__main__ import NOTICED, Mutant, mutants, not_passed, noticed, stale

DOUBLE = Mutant("arithmetic", "doubling adds one", "double.py", "2 * x", "2 * x + 1", ("test_double.py",))


def test_every_fault_of_the_table_fits_its_file() -> None:
    table = mutants()
    assert len(table) >= 40
    assert stale(table) == []
    assert len({(mutant.file, mutant.text) for mutant in table}) == len(table)


@pytest.mark.parametrize(
    ("source", "count"), [("def double(x): return x + x\n", 0), ("a = 2 * x\nb = 2 * x\n", 2)], ids=["gone", "twice"]
)
def test_a_text_that_is_not_in_its_file_once_is_stale(tmp_path: Path, source: str, count: int) -> None:
    (tmp_path / "double.py").write_text(source)
    (tmp_path / "test_double.py").write_text("")
    assert [f"double.py: {count} times in the file" in problem for problem in stale([DOUBLE], tmp_path)] == [True]
    assert stale([replace(DOUBLE, tests=("absent.py",))], tmp_path)[0] == "absent.py: no such test file"


@pytest.mark.parametrize(
    ("check", "result"),
    [("assert double(2) == 4", NOTICED), ("assert double(2)", "SURVIVED"), ("import pytest; pytest.exit()", None)],
)
def test_only_a_failing_test_has_noticed_a_fault(tmp_path: Path, check: str, result: str | None) -> None:
    source = "def double(x): return 2 * x\n"
    (tmp_path / "double.py").write_text(source)
    (tmp_path / "test_double.py").write_text(f"from double import double\ndef test_it():\n    {check}\n")
    told = noticed(DOUBLE, tmp_path)
    assert told == result or (result is None and told.startswith("pytest ended with"))
    assert (tmp_path / "double.py").read_text() == source


@pytest.mark.parametrize(
    "test", ["def test_it(): assert False", "import pytest\n@pytest.mark.skip\ndef test_it(): ..."]
)
def test_a_test_that_fails_or_is_skipped_anyhow_notices_nothing(tmp_path: Path, test: str) -> None:
    (tmp_path / "test_double.py").write_text(test + "\n")
    assert not_passed(tmp_path, ["test_double.py"])
    (tmp_path / "test_double.py").write_text("def test_it(): pass\n")
    assert not_passed(tmp_path, ["test_double.py"]) == []
