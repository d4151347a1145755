"""Sizes of files, functions and folders; the files that CONTRIBUTING lists; names that others hold on to."""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("evalkit", "benchmarks", "aligners", "dashboard")
LONGEST_FILE, LONGEST_FUNCTION, MOST_MODULES = 420, 60, 12
# Task of CONTRIBUTING.md -> files one opens at most, of which are edited.
TASKS = {
    "Understand CHAIR": (6, 0),
    "Add a benchmark": (8, 2),
    "Add an aligner": (10, 2),
    "Add an engine": (9, 2),
    "Mend a wrong number on the dashboard": (5, 0),
}


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_too_long() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {name: count for name, count in lengths.items() if count > LONGEST_FILE} == {}


def lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (function.body[0].end_lineno or 0) - function.body[0].lineno + 1
    return lines


@pytest.mark.parametrize(("lines", "counted"), [(['    """One."""'], 1), (['    """One', '    two."""', "    x"], 2)])
def test_a_function_is_counted_without_its_docstring(lines, counted) -> None:
    (function,) = ast.parse("\n".join(["def f():", *lines])).body
    assert isinstance(function, ast.FunctionDef)
    assert lines_without_docstring(function) == counted


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{relative(path)}:{node.name}": lines_without_docstring(node)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in lengths.items() if count > LONGEST_FUNCTION} == {}


def test_no_folder_holds_too_many_modules() -> None:
    tops = {ROOT / package for package in PACKAGES}
    counts = Counter(path.parent for path in modules())
    assert {relative(path): count for path, count in counts.items() if count > MOST_MODULES and path not in tops} == {}
    assert {relative(path): counts[path] for path in tops if counts[path] > MOST_MODULES + 1} == {}


def test_no_module_is_named_after_nothing() -> None:
    parts = {part for path in modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not parts & {"utils", "util", "common", "helpers", "misc"}


def bound(tree: ast.AST) -> Iterator[str]:
    """Names that are assigned to, and arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def test_names_say_what_they_hold() -> None:
    vague = {"found", "told", "made"}
    named = {
        relative(path): vague.intersection(bound(ast.parse(path.read_text(encoding="utf-8")))) for path in modules()
    }
    assert {path: names for path, names in named.items() if names} == {}


def tasks() -> dict[str, tuple[str, list[str], list[str]]]:
    """Task -> its first line, the files listed under it, those of them that are edited."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Five tasks")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*(.+?)\*\*", section, flags=re.MULTILINE)
    listed = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        rows = re.findall(r"^    (\S+)(?: +(\*))?", body, flags=re.MULTILINE)
        listed[name] = (body.partition("\n")[0], [path for path, _ in rows], [path for path, star in rows if star])
    return listed


def test_contributing_lists_the_five_tasks() -> None:
    assert set(tasks()) == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_opens_the_files_that_contributing_says(task: str) -> None:
    head, files, edited = tasks()[task]
    assert (len(files), len(edited)) == TASKS[task]
    assert f"{len(files)} files" in head
    assert ("edited" in head) == bool(edited)
    assert len(set(files)) == len(files)
    assert [path for path in files if Path(path).stem != "NEW" and not (ROOT / path).is_file()] == []
    assert [path for path in files if Path(path).stem == "NEW" and not (ROOT / path).parent.is_dir()] == []


def test_every_folder_of_the_map_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## The map")[2].partition("\n## ")[0]
    top, missing = "", []
    for indent, name in re.findall(r"^    ( *)([a-z_]+/(?: [a-z_]+/)*)", text, flags=re.MULTILINE):
        top = name.split("/")[0] if not indent else top
        for folder in name.split():
            places = [ROOT / folder] if not indent else list((ROOT / top).rglob(folder.rstrip("/")))
            missing += [] if any(place.is_dir() for place in places) else [f"{top}: {folder}"]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        *(f"benchmarks:{name}" for name in ("BENCHMARKS", "CHAIR", "AMBER", "POPE", "MMHalBench", "ObjectHalBench")),
        "benchmarks.chair:CHAIR",  # as this and the next lines stand in stored manifests
        "benchmarks.amber:AMBER",
        "benchmarks.pope:POPE",
        "benchmarks.mmhal:MMHalBench",
        "benchmarks.object_halbench:ObjectHalBench",
        *(f"evalkit:{name}" for name in ("compare", "load_runs", "load_metrics", "__version__")),
        *(f"evalkit.harness:{name}" for name in ("evaluate", "generate", "score", "plan", "Plan")),
        *(f"evalkit.runs:{name}" for name in ("Run", "load_run", "find_runs")),
        *(f"evalkit.text:{name}" for name in ("sentences", "tokenize", "tag", "lemma")),
        "evalkit.__main__:program",
        "aligners.best_of_n:best_of_n",
        *(f"aligners.presets:{name}" for name in ("DPO_PRESETS", "RLAIF_PRESETS", "FACT_RLHF_PRESETS")),
    ],
)
def test_public_names_stay(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert getattr(importlib.import_module(module), attribute) is not None


def test_profiles_stay() -> None:
    assert list((ROOT / "aligners" / "profiles").glob("*.yaml"))
