"""`make mutation`: faults planted one at a time in the mechanisms that keep a number right; a test notices each.

    python -m tests.mutation [--only WORD]

The faults stand in mutants.toml. They are planted in a copy of the tree, in a temporary folder: first the named tests
pass there without any fault, then each fault has to make its own tests fail. Exit code 1 if a fault survives, if a
test does not pass without it, or if a text is not, or no longer, in its file exactly once.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).parent / "mutants.toml"
PATIENCE_S = 600  # for the tests of one fault; one that hangs was noticed too, but is not counted as such
NOTICED = "noticed"
TESTS_FAILED = 1  # pytest's exit code; others say that no test was found, or none could be started


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: `text` of a file becomes something else, and `tests` must fail."""

    mechanism: str
    fault: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]

    def planted(self, source: str) -> str:
        """The source with the fault.

        Raises:
            ValueError: if the text does not stand in it exactly once.
        """
        if (count := source.count(self.text)) != 1:
            raise ValueError(f"{self.file}: {count} times in the file, not once: {self.text.strip()[:80]!r}")
        return source.replace(self.text, self.becomes)


def mutants(path: Path = TABLE) -> list[Mutant]:
    """All of the table."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in rows]


def stale(chosen: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """What is wrong with rows of the table: texts that are no longer in their files, tests that are not there."""
    problems = []
    for mutant in chosen:
        problems += [
            f"{name}: no such test file" for name in mutant.tests if not (root / name.split("::")[0]).is_file()
        ]
        try:
            mutant.planted((root / mutant.file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            problems.append(str(error))
    return problems


def copy_of_tree(folder: Path) -> Path:
    """The files that git knows or would know, copied."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_tests(tree: Path, tests: Sequence[str], *more: str) -> int:
    """Exit code of pytest in a tree of its own; nothing of the installed package is imported."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--basetemp", "temporary"]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run([*command, *more, *tests], cwd=tree, env=environment, timeout=PATIENCE_S, **quiet).returncode


def not_passed(tree: Path, tests: Sequence[str]) -> list[str]:
    """Tests that fail or are skipped without any fault."""
    report = tree / "unmutated.xml"
    code = run_tests(tree, tests, f"--junitxml={report}")
    if not report.is_file():
        return [f"pytest ended with {code} before it ran a test"]
    cases = ElementTree.parse(report).iter("testcase")
    by_file: dict[str, list[bool]] = {}
    for case in cases:
        passed = all(case.find(name) is None for name in ("failure", "error", "skipped"))
        by_file.setdefault(case.get("classname", ""), []).append(passed)
    silent = [name for name, passed in by_file.items() if not any(passed)]
    return silent or ([f"pytest ended with {code}"] if code else [])


def noticed(mutant: Mutant, tree: Path) -> str:
    """NOTICED, or what happened instead."""
    path = tree / mutant.file
    source = path.read_text(encoding="utf-8")
    path.write_text(mutant.planted(source), encoding="utf-8")
    try:
        code = run_tests(tree, mutant.tests)
    except subprocess.TimeoutExpired:
        return f"no end within {PATIENCE_S} s"
    finally:
        path.write_text(source, encoding="utf-8")
    if code == TESTS_FAILED:
        return NOTICED
    return "SURVIVED" if code == 0 else f"pytest ended with {code}"


def main() -> int:
    """Plant every fault; 1 unless all are noticed."""
    options = _arguments()
    chosen = [mutant for mutant in mutants() if options.only in f"{mutant.mechanism} {mutant.fault} {mutant.file}"]
    if problems := stale(chosen):
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = copy_of_tree(Path(folder))
        if problems := not_passed(tree, sorted({name for mutant in chosen for name in mutant.tests})):
            print("without any fault:", *problems, sep="\n", file=sys.stderr)
            return 1
        results = []
        for mutant in chosen:
            results.append(noticed(mutant, tree))
            print(f"{results[-1]:<9} {mutant.mechanism:<16} {mutant.fault} ({mutant.file})", flush=True)
    print(f"{results.count(NOTICED)} of {len(chosen)} faults noticed")
    return int(results.count(NOTICED) < len(chosen))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose mechanism, words or file hold it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
