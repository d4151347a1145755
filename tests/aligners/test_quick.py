"""A benchmark on a few items during training: in the log, as runs to open, and without effect on what is trained."""

from pathlib import Path

import pytest
from preference_data import make_pairs
from safetensors.torch import load_file
from tiny_models import save_tiny

from aligners.preference.pairs import write_pairs
from aligners.quick import QuickEvaluation
from aligners.training.run_folder import LOG, read_log
from benchmarks import POPE, MMHalBench
from evalkit.__main__ import main
from evalkit.errors import UsageError
from evalkit.miniature.files import write_world
from evalkit.runs.run import load_run

SETTINGS = ["--set", "batch_size=4", "--set", "max_steps=4", "--set", "learning_rate=1e-3", "--set", "save_steps=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    save_tiny("llava", folder / "start")
    write_pairs(folder / "pairs.jsonl", make_pairs(folder))
    write_world(folder / "world", 4, 0)
    return folder


def train(folder: Path, out: str, *words: str) -> int:
    paths = [
        "--model",
        str(folder / "start"),
        "--data",
        str(folder / "pairs.jsonl"),
        "--output-path",
        str(folder / out),
    ]
    return main(["align", "ddpo", *paths, *SETTINGS, *words])


def test_quick_numbers_stand_in_the_log_and_training_is_the_same_without_them(folder: Path) -> None:
    quick = ["--quick", "pope", "--quick-world", str(folder / "world"), "--quick-limit", "6", "--quick-steps", "3"]
    assert train(folder, "with", *quick) == 0
    assert train(folder, "without") == 0
    lines = read_log(folder / "with" / LOG)
    assert [line["step"] for line in lines if "quick_accuracy" in line] == [3, 4]
    assert all(0 <= line["quick_accuracy"] <= 100 for line in lines if "quick_accuracy" in line)
    run = load_run(folder / "with" / "training" / "quick" / "step-3" / "pope")
    assert (run.label, len(run.rows)) == ("step 3", 6)
    ours, theirs = (load_file(folder / out / "model.safetensors") for out in ("with", "without"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_by_default_it_is_measured_at_every_training_checkpoint(folder: Path) -> None:
    probe = QuickEvaluation(benchmark=POPE.miniature(folder / "world")).probe(None, folder)
    assert [step for step in range(1, 8) if probe.due(step, 7, save_steps=3)] == [3, 6, 7]


def test_a_judged_benchmark_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="mmhal needs a judge"):
        QuickEvaluation(benchmark=MMHalBench.miniature(folder / "world"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quick", "pope"], "--quick needs --quick-data DIR or --quick-world DIR"),
        (["--quick", "chairs", "--quick-data", "x"], "--quick chairs: expected one of chair"),
        (["--quick-steps", "3"], "--quick-steps belongs to --quick BENCHMARK"),
    ],
)
def test_what_is_lacking_is_said(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "refused", *words) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "refused" / "model.safetensors").exists()
