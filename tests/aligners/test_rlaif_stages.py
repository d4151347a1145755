"""Online feedback a stage at a time: the same run as by one command, one model per process, training by a launcher."""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import rlaif_world
from rlaif_world import assert_same, prepared, run, write_world

from aligners.cli.stage_commands import STAGES as COMMAND_STAGES
from aligners.cli.stage_commands import launched_by
from aligners.feedback.roles import OnDemand
from aligners.rlaif import STAGES, RlaifResult
from aligners.training.checkpoint import read_card
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import RecordError, TrainingError, UsageError
from evalkit.runs.records import read_json, write_json


def environment() -> dict[str, str]:
    root = Path(rlaif_world.__file__).parent
    return {**os.environ, "PYTHONPATH": f"{root.parent}:{root}"}


def test_the_command_line_knows_every_stage() -> None:
    assert COMMAND_STAGES == STAGES


def test_stages_one_by_one_are_the_run_of_one_command_and_open_one_model_each(
    feedback_world: Path, tmp_path: Path, feedback_run: RlaifResult
) -> None:
    opened: dict[str, list[str]] = {}
    for number in (1, 2):
        for stage in STAGES:
            names = opened.setdefault(f"{number} {stage}", [])

            def open_policy(path: Path | str, names: list[str] = names) -> TransformersEngine:
                names.append("policy")
                return TransformersEngine(path, batch_size=4)

            result = prepared(feedback_world, tmp_path, open_engine=open_policy).stage(stage)
            assert (result.iteration, result.stage) == (number, stage)
    assert result.following is None
    assert {key: names for key, names in opened.items() if names} == {  # without a labeler the policy judges itself
        f"{number} {stage}": ["policy"] for number in (1, 2) for stage in ("candidates", "judgements")
    }
    assert_same(tmp_path, feedback_run.checkpoint)
    ours, theirs = read_card(tmp_path), read_card(feedback_run.checkpoint)
    assert ours is not None
    assert theirs is not None
    assert ours.settings == theirs.settings
    assert run(feedback_world, tmp_path).iterations[1]["pairs"] == feedback_run.iterations[1]["pairs"]


def test_a_labeler_is_opened_to_judge_and_by_no_other_stage(feedback_world: Path, tmp_path: Path) -> None:
    opened: list[str] = []

    def labeler(stage: str) -> OnDemand:
        def open_it() -> TransformersEngine:
            opened.append(stage)
            return TransformersEngine(feedback_world / "start", batch_size=4)

        return OnDemand(open_it, "labeler")

    for stage in STAGES:
        prepared(feedback_world, tmp_path, labeler=labeler(stage), overrides={"iterations": 1}).stage(stage)
    assert opened == ["judgements"]
    roles = read_json(tmp_path / "rlaif.json")["roles"]
    assert roles["labeler"]["model"] == str(feedback_world / "start")
    assert set(roles) == {"policy", "splitter", "labeler"}


def test_a_stage_before_its_time_is_refused_with_what_to_run_first(feedback_world: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"iteration 1 has no candidates yet.*--stage candidates --iteration 1 first"):
        prepared(feedback_world, tmp_path).stage("judgements")
    with pytest.raises(RecordError, match="iteration 1 has no training yet"):
        prepared(feedback_world, tmp_path).stage("candidates", 2)
    with pytest.raises(UsageError, match="there are 2 iterations, not 3"):
        prepared(feedback_world, tmp_path).stage("candidates", 3)


def test_another_labeler_is_refused_when_it_is_opened(feedback_world: Path, tmp_path: Path) -> None:
    first = {"overrides": {"iterations": 1}, "labeler": TransformersEngine(feedback_world / "start", batch_size=4)}
    for stage in STAGES[:3]:
        prepared(feedback_world, tmp_path, **first).stage(stage)
    (tmp_path / "iteration_1" / "judgements.jsonl").unlink()
    stages = read_json(tmp_path / "iteration_1" / "stages.json")
    del stages["stages"]["judgements"]
    write_json(tmp_path / "iteration_1" / "stages.json", stages)
    other = TransformersEngine(feedback_world / "start", batch_size=4, dtype="bfloat16")
    with pytest.raises(
        RecordError, match=r"belongs to a run with another labeler: content .* dtype float32 there, bfloat16 here"
    ):
        prepared(feedback_world, tmp_path, **{**first, "labeler": other}).stage("judgements")
    with pytest.raises(RecordError, match=r"another labeler: .* there, the policy itself here"):
        prepared(feedback_world, tmp_path, overrides={"iterations": 1}).stage("judgements")


def test_every_stage_is_killed_once_and_goes_on(tmp_path: Path, feedback_run: RlaifResult) -> None:
    write_world(tmp_path)
    options: dict[str, Any] = {"overrides": {"save_steps": 1}}
    for stage, count in (("candidates", 5), ("claims", 4), ("judgements", 2), ("pairs", 1), ("training", 1)):
        alone = [sys.executable, rlaif_world.__file__, str(tmp_path), "alone", stage]
        killed = subprocess.run([*alone, str(count)], env=environment(), check=False)
        assert killed.returncode == -9, stage
        stages = read_json(tmp_path / "out" / "iteration_1" / "stages.json").get("stages", {})
        assert stage not in stages
        prepared(tmp_path, tmp_path / "out", **options).stage(stage)
    assert_same(run(tmp_path, tmp_path / "out", **options).checkpoint, feedback_run.checkpoint)


def test_training_in_two_launched_processes_is_training_in_one(tmp_path: Path, feedback_run: RlaifResult) -> None:
    write_world(tmp_path)
    out = tmp_path / "out"
    options: dict[str, Any] = {"overrides": {"save_steps": 1}}

    def launch(iteration: int) -> None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        child = [*torchrun, rlaif_world.__file__, str(tmp_path), "alone", "training"]
        subprocess.run(child, env=environment(), check=True)

    assert_same(run(tmp_path, out, launch=launch, **options).checkpoint, feedback_run.checkpoint)


def test_of_two_processes_the_first_one_alone_opens_models_to_sample_and_label(tmp_path: Path) -> None:
    """Every process once opened labeler and splitter, all of them on the first device."""
    write_world(tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, rlaif_world.__file__, str(tmp_path), "together"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "opened").read_text().split("\n") == ["policy 0", "labeler 0", "policy 0", "labeler 0", ""]
    card = read_card(tmp_path / "out")
    assert card is not None
    assert card.cost["iterations"] == 2


def test_a_launched_training_that_leaves_nothing_is_an_error(feedback_world: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="iteration 1 was launched and ended without a checkpoint"):
        run(feedback_world, tmp_path, launch=lambda iteration: None)


def test_a_run_of_an_older_version_is_read(feedback_world: Path, tmp_path: Path, feedback_run: RlaifResult) -> None:
    out = tmp_path / "old"
    shutil.copytree(feedback_run.checkpoint, out)
    roles = read_json(out / "rlaif.json")["roles"]
    for path in (out / "rlaif.json", *out.glob("iteration_*/stages.json")):
        content = read_json(path)
        content.pop("roles", None)
        content["settings"] |= {
            "start_content": roles["policy"],
            "labeler": roles["labeler"],
            "splitter": roles["splitter"],
        }
        write_json(path, content)
    assert run(feedback_world, out).pairs == feedback_run.pairs
    assert read_json(out / "rlaif.json")["roles"] == roles


# --- the launcher -------------------------------------------------------------------------------------------------


def options_with(launcher: str | None, stage: str | None = None) -> Namespace:
    return Namespace(launcher=launcher, stage=stage)


def test_the_child_repeats_the_command_with_its_stage(tmp_path: Path) -> None:
    record = tmp_path / "record.py"
    record.write_text(f"import json, sys\nopen({str(tmp_path / 'words')!r}, 'w').write(json.dumps(sys.argv[1:]))\n")
    launcher = f"{sys.executable} '{record}' --processes 2"
    words = ["align", "rlaif", "--model", "M", "--launcher", launcher, "--output-path", "out"]
    launch = launched_by(options_with(launcher), words)
    assert launch is not None
    launch(3)
    assert json.loads((tmp_path / "words").read_text()) == [
        *("--processes", "2", "--module", "evalkit", "align", "rlaif", "--model", "M", "--output-path", "out"),
        *("--stage", "training", "--iteration", "3"),
    ]


def test_a_child_that_fails_ends_the_run() -> None:
    launch = launched_by(options_with(f"{sys.executable} -c 'raise SystemExit(3)'"), [])
    assert launch is not None
    with pytest.raises(TrainingError, match="ended with exit status 3; rerun the same command"):
        launch(1)
    missing = launched_by(options_with("no-such-launcher"), [])
    assert missing is not None
    with pytest.raises(UsageError, match="no-such-launcher: No such file"):
        missing(1)


def test_a_stage_alone_is_launched_by_its_user() -> None:
    assert launched_by(options_with(None, "training"), []) is None
    with pytest.raises(UsageError, match="start this one yourself"):
        launched_by(options_with("torchrun", "training"), [])
