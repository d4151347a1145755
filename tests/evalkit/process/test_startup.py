"""The collector rests during large imports, once per process, and works again afterwards."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from evalkit.process.libraries import quick_imports


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    yield
    gc.unfreeze()


def test_the_collector_rests_and_then_overlooks_what_was_made() -> None:
    before = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_a_failed_import_leaves_the_collector_as_it_was() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_nothing_happens_once_torch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())
    before = gc.get_freeze_count()
    with quick_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_a_collector_that_is_switched_off_stays_off() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


DEFERRED = """
import sys
from evalkit.process.libraries import quick_imports
with quick_imports():
    from transformers.loss import loss_for_object_detection as loss
    from scipy.sparse import csr_matrix  # a sibling is the real one
assert "scipy.optimize" not in sys.modules
rows, columns = loss.linear_sum_assignment([[4, 1], [2, 8]])
assert columns.tolist() == [1, 0]
import scipy.optimize
assert loss.linear_sum_assignment([[1]], maximize=True)[0].tolist() == [0]
assert scipy.optimize.minimize(lambda x: (x - 2) ** 2, 0.0).x.round(3) == 2
"""

AT_ONCE = """
import sys
from evalkit.process.libraries import quick_imports
with quick_imports():
    from scipy.optimize import linear_sum_assignment, OptimizeResult, _lsap
    assert issubclass(OptimizeResult, dict)
    import scipy.optimize
    assert scipy.optimize.linear_sum_assignment is not linear_sum_assignment
assert sys.modules["scipy.optimize"] is scipy.optimize
assert linear_sum_assignment([[4, 1], [2, 8]])[1].tolist() == [1, 0]
"""


@pytest.mark.parametrize("program", [DEFERRED, AT_ONCE])
def test_what_only_losses_of_detectors_need_is_imported_when_one_is_computed(program: str) -> None:
    pytest.importorskip("scipy")
    subprocess.run([sys.executable, "-c", program], check=True)
