"""The list of packages in pyproject.toml is whole: what is not listed is missing from the wheel (`make wheel`)."""

import subprocess
import tomllib
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("evalkit", "benchmarks", "aligners", "dashboard")


@pytest.fixture(scope="module")
def setuptools() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def files() -> list[PurePosixPath]:
    found = [path for top in TOPS for path in (ROOT / top).rglob("*") if path.is_file()]
    return [PurePosixPath(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts]


def test_every_folder_with_modules_is_a_listed_package(setuptools):
    folders = {".".join(path.parent.parts) for path in files() if path.suffix == ".py"}
    assert folders == set(setuptools["packages"])


def test_every_other_file_of_a_package_is_among_its_data(setuptools):
    data = [
        PurePosixPath(*package.split("."), pattern)
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
    ]
    others = [path for path in files() if path.suffix != ".py"]
    assert [str(path) for path in others if not any(path.match(str(pattern)) for pattern in data)] == []


def test_no_file_is_hidden_from_git():
    """A pattern of .gitignore that fits a package would leave it out of clones."""
    listed = subprocess.run(
        ["git", "status", "--porcelain", "--ignored", *TOPS], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    hidden = [line[3:] for line in listed.stdout.splitlines() if line.startswith("!!") and "__pycache__" not in line]
    assert hidden == []
