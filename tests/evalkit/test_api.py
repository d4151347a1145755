"""The package itself: instant to import, its functions there when asked for."""

import subprocess
import sys

import pytest

import evalkit


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("compare", "evalkit.analysis.comparison"),
        ("load_runs", "evalkit.analysis.frames"),
        ("load_metrics", "evalkit.analysis.frames"),
    ],
)
def test_functions_are_at_hand(name, module):
    assert getattr(evalkit, name).__module__ == module


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evalkit.nothing


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import evalkit", ["numpy", "pandas", "torch"]),
        ("import evalkit; evalkit.compare; import evalkit.reports.runs", ["pandas", "torch", "scipy", "transformers"]),
    ],
)
def test_nothing_heavy_is_imported(code, absent):
    check = f"{code}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
