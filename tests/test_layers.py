"""The layers keep their order, and looking at the program loads none of the heavy libraries."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "numpy", "pandas", "nltk", "openai", "PIL", "streamlit", "vllm", "peft", "rich")


def loaded(statement: str) -> set[str]:
    """Top-level modules after a statement in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-2000:])


def test_contracts_between_the_layers_are_kept() -> None:
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["run", "--help"], ["score", "--help"], ["align", "--help"]]
)
def test_help_loads_no_heavy_library(words: list[str]) -> None:
    found = loaded(f"from evalkit.__main__ import main\ntry:\n    main({words!r})\nexcept SystemExit:\n    pass")
    assert not found & set(HEAVY)


@pytest.mark.parametrize(
    "module",
    ["evalkit", "evalkit.harness", "evalkit.harness.judge", "evalkit.engines.openai", "evalkit.engines.replay",
     "evalkit.reports.runs", "evalkit.analysis.comparison", "benchmarks", "benchmarks.chair", "benchmarks.amber",
     "benchmarks.pope", "benchmarks.mmhal", "benchmarks.object_halbench", "evalkit.harness.stored",
     "benchmarks.commands"],
)  # fmt: skip
def test_scoring_and_served_models_need_no_torch(module: str) -> None:
    assert not loaded(f"import {module}") & {"torch", "transformers", "vllm", "streamlit"}


@pytest.mark.parametrize("package", ["evalkit", "evalkit.engines", "benchmarks", "aligners", "dashboard"])
def test_packages_load_nothing_heavy(package: str) -> None:
    assert not loaded(f"import {package}") & (set(HEAVY) - {"numpy", "PIL"})
