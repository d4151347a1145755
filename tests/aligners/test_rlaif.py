"""Online feedback on tiny random checkpoints: stage files, resuming after a kill, determinism, errors."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlaif_world
import torch
from rlaif_world import OVERRIDES, SPLITTER, assert_same, contents, prepared, run, write_world
from safetensors.torch import load_file

from aligners.feedback.candidates import Candidate
from aligners.feedback.instructions import Instruction, read_instructions, rounds
from aligners.feedback.selection import Selection, best_iteration, held_out
from aligners.feedback.splitting import Divided, ModelSplitter, RuleSplitter
from aligners.preference.pairs import read_pairs
from aligners.rlaif import RlaifResult, rlaif_settings
from aligners.training.checkpoint import read_card
from evalkit.engines.base import Choices
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import DataError, RecordError, TrainingError, UsageError
from evalkit.runs.records import read_journal, read_json
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

STAGES = ("candidates", "claims", "judgements")


class Watched(TransformersEngine):
    """Remembers what it was asked."""

    generated: list[str]
    judged: list[str]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        self.generated += [prompt.id for prompt in prompts]
        return super().generate(prompts, sampling)

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        self.judged += [prompt.id for prompt in prompts]
        return super().choices(prompts, groups)


def watch() -> tuple[Any, list[str], list[str]]:
    """(open_engine, prompts generated for, questions judged)."""
    generated: list[str] = []
    judged: list[str] = []

    def open_engine(path: Path | str) -> Watched:
        engine = Watched(path, batch_size=4)
        engine.generated, engine.judged = generated, judged
        return engine

    return open_engine, generated, judged


# --- what a run leaves --------------------------------------------------------------------------------------------


def test_every_iteration_leaves_all_stage_files(feedback_run: RlaifResult) -> None:
    for number in (1, 2):
        folder = feedback_run.checkpoint / f"iteration_{number}"
        present = {path.name for path in folder.iterdir()}
        expected = {f"{name}.jsonl" for name in (*STAGES, "pairs")} | {"stages.json", "checkpoint"}
        assert expected <= present
        stages = read_json(folder / "stages.json")
        assert set(stages["stages"]) == {*STAGES, "pairs"}
        assert stages["settings"]["iteration"] == number


def test_pairs_prefer_the_higher_score_and_find_their_images(feedback_run: RlaifResult) -> None:
    pairs = list(read_pairs(feedback_run.checkpoint / "iteration_1" / "pairs.jsonl"))
    assert pairs
    for pair in pairs:
        assert pair.meta["chosen_score"] >= pair.meta["rejected_score"] + 1
        assert Path(str(pair.image)).is_file()
        chosen, rejected = pair.id.split(">")
        assert chosen.split("#")[0] == rejected.split("#")[0]


def test_candidates_record_their_seeds_and_differ_between_iterations(feedback_run: RlaifResult) -> None:
    seeds = [
        row["seed"]
        for number in (1, 2)
        for row in read_journal(feedback_run.checkpoint / f"iteration_{number}" / "candidates.jsonl")
    ]
    assert len(seeds) == len(set(seeds)) == 24


def test_each_iteration_starts_from_the_last_checkpoint(feedback_run: RlaifResult) -> None:
    cards = [read_card(feedback_run.checkpoint / f"iteration_{number}" / "checkpoint") for number in (1, 2)]
    assert cards[0] is not None
    assert cards[1] is not None
    assert cards[1].parent.endswith("iteration_1/checkpoint")
    assert cards[1].parent_hash != cards[0].parent_hash


def test_the_card_tells_the_whole_run(feedback_run: RlaifResult, feedback_world: Path) -> None:
    card = read_card(feedback_run.checkpoint)
    assert card is not None
    assert (card.method, card.preset, card.parent) == (
        "rlaif",
        "rlaifv (labels of its own, claims by rules)",
        str(feedback_world / "start"),
    )
    assert card.cost["pairs"] == feedback_run.pairs == sum(row["trained_pairs"] for row in feedback_run.iterations)
    assert card.cost["iterations"] == 2
    assert card.selection is None
    assert card.settings["labeler"] == "the policy itself"


@pytest.mark.parametrize(
    ("labeler", "splitter", "name"),
    [
        (True, True, "rlaifv"),
        (False, True, "rlaifv (labels of its own)"),
        (True, False, "rlaifv (claims by rules)"),
        (False, False, "rlaifv (labels of its own, claims by rules)"),
    ],
)
def test_the_card_names_the_published_preset_only_with_a_labeler_and_a_splitter(
    labeler: bool, splitter: bool, name: str, feedback_world: Path, tmp_path: Path
) -> None:
    engine = TransformersEngine(feedback_world / "start", batch_size=4)

    class Letters(ModelSplitter):
        """Stands in for a splitter model; random ones write no lists."""

        def split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
            return SPLITTER.split(candidates)

    options: dict[str, Any] = {"labeler": engine} if labeler else {}
    options |= {"splitter": Letters(engine)} if splitter else {}
    result = run(feedback_world, tmp_path, **options, overrides={"iterations": 1})
    card = read_card(result.checkpoint)
    assert card is not None
    assert card.preset == name


def test_the_published_checkpoint_is_the_last_iterations(feedback_run: RlaifResult) -> None:
    last = feedback_run.checkpoint / "iteration_2" / "checkpoint" / "model.safetensors"
    assert (feedback_run.checkpoint / "model.safetensors").read_bytes() == last.read_bytes()
    engine = TransformersEngine(feedback_run.checkpoint)
    assert next(engine.generate([Prompt("p", "What?")], Sampling(max_new_tokens=2))).text is not None


def test_iterations_log_counts_scores_lengths_labels_and_training(feedback_run: RlaifResult) -> None:
    for row in feedback_run.iterations:
        assert row["candidates"] == 12
        assert row["prompts"] == 4
        assert row["claims"] > 0
        assert row["pairs"] == row["trained_pairs"] > 0
        assert row["mean_score"] <= 0
        assert 0 <= row["yes_share"] <= 1
        assert row["mean_chosen_words"] > 0
        assert row["steps"] > 0
        assert set(row["stage_seconds"]) == {*STAGES, "pairs", "training"}


def test_a_finished_run_is_returned_without_any_work(feedback_run: RlaifResult, feedback_world: Path) -> None:
    open_engine, generated, judged = watch()
    assert run(feedback_world, feedback_run.checkpoint, open_engine=open_engine) == feedback_run
    assert (generated, judged) == ([], [])


def test_the_same_call_gives_the_same_run(feedback_run: RlaifResult, feedback_world: Path, tmp_path: Path) -> None:
    run(feedback_world, tmp_path)
    assert_same(tmp_path, feedback_run.checkpoint)


def test_another_seed_gives_other_candidates(feedback_run: RlaifResult, feedback_world: Path, tmp_path: Path) -> None:
    run(feedback_world, tmp_path, seed=1, overrides={"iterations": 1})
    name = "iteration_1/candidates.jsonl"
    assert contents(tmp_path)[name] != contents(feedback_run.checkpoint)[name]


def test_candidates_can_be_drawn_as_the_release_drew_them(feedback_world: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    class Asked(TransformersEngine):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
            asked.append(sampling.top_k)
            return super().generate(prompts, sampling)

    for top_k in (0, 50):
        overrides = {"iterations": 1, "top_k": top_k}
        opened = prepared(feedback_world, tmp_path / str(top_k), open_engine=Asked, overrides=overrides)
        opened.stage("candidates")
    assert asked == [0, 50]


def test_a_seed_among_the_settings_changes_training_and_no_candidate(
    feedback_run: RlaifResult, feedback_world: Path, tmp_path: Path
) -> None:
    """It once changed nothing but the identity of the run."""
    run(feedback_world, tmp_path, overrides={"iterations": 1, "seed": 7})
    name = "iteration_1/candidates.jsonl"
    assert contents(tmp_path)[name] == contents(feedback_run.checkpoint)[name]
    place = Path("iteration_1") / "checkpoint"
    cards = [read_card(folder / place) for folder in (tmp_path, feedback_run.checkpoint)]
    assert cards[0].seeds["training"] != cards[1].seeds["training"]
    weights = [load_file(folder / place / "model.safetensors") for folder in (tmp_path, feedback_run.checkpoint)]
    assert any(not torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


# --- kill and resume ----------------------------------------------------------------------------------------------


class Stop(BaseException):
    """Ends a run from its progress callback."""


@pytest.mark.parametrize(("stage", "count"), [("candidates", 7), ("claims", 5), ("judgements", 3), ("training", 1)])
def test_a_run_that_broke_off_anywhere_repeats_nothing_that_was_finished(
    feedback_run: RlaifResult, feedback_world: Path, tmp_path: Path, stage: str, count: int
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what.endswith(stage) and done >= count:
            raise Stop

    with pytest.raises(Stop):
        run(feedback_world, tmp_path, progress=stop, overrides={"save_steps": 1})
    had = {key: read_journal(tmp_path / "iteration_1" / f"{key}.jsonl") for key in STAGES}
    open_engine, generated, judged = watch()
    run(feedback_world, tmp_path, open_engine=open_engine, overrides={"save_steps": 1})
    complete = {row["prompt_id"] for row in had["candidates"]} - {
        row["prompt_id"]
        for row in read_journal(tmp_path / "iteration_1" / "candidates.jsonl")
        if row["id"] not in {known["id"] for known in had["candidates"]}
    }
    first_round = len(read_journal(tmp_path / "iteration_1" / "judgements.jsonl")) - len(had["judgements"])
    assert not complete & set(generated[: len(generated) - 4])  # the last four are the second iteration's
    assert not {row["id"] for row in had["judgements"]} & set(judged[:first_round])
    assert_same(tmp_path, feedback_run.checkpoint)


def test_a_killed_process_is_continued_by_the_next(feedback_run: RlaifResult, tmp_path: Path) -> None:
    write_world(tmp_path)
    script = [sys.executable, rlaif_world.__file__, str(tmp_path)]
    root = Path(rlaif_world.__file__).parent
    for stage, count in (("candidates", "5"), ("2: judgements", "2")):
        done = subprocess.run(
            [*script, stage, count], cwd=root.parent, env={**os.environ, "PYTHONPATH": f"{root.parent}:{root}"}
        )
        assert done.returncode == -9
    run(tmp_path, tmp_path / "out")
    assert_same(tmp_path / "out", feedback_run.checkpoint)


# --- selection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "best"), [([None, None], 2), ([1.0, 2.0], 1), ([2.0, 1.0], 2), ([1.0, 1.0], 2)])
def test_the_best_iteration_is_the_lowest_and_the_last_without_a_measure(values: list[Any], best: int) -> None:
    assert best_iteration([{"iteration": i, "selection": value} for i, value in enumerate(values, 1)]) == best


def test_the_chosen_iteration_is_published_and_the_split_recorded(feedback_world: Path, tmp_path: Path) -> None:
    measured: list[Path] = []

    def measure(checkpoint: Path) -> float:
        measured.append(checkpoint)
        return float(len(measured))

    result = run(feedback_world, tmp_path, selection=Selection("validation scenes", measure))
    first = tmp_path / "iteration_1" / "checkpoint"
    assert result.chosen == 1
    assert len(measured) == 2
    assert (tmp_path / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    card = read_card(tmp_path)
    assert card is not None
    assert card.selection == "validation scenes"


def test_a_test_benchmark_as_selection_split_is_called_one() -> None:
    assert str(Selection("chair", lambda _: 0.0, test=True)) == "test benchmark: chair"


def test_held_out_prompts_measure_a_checkpoint(feedback_world: Path) -> None:
    instructions = read_instructions(feedback_world / "prompts.jsonl")[:2]
    engine = TransformersEngine(feedback_world / "start")
    selection = held_out(instructions, engine, SPLITTER, TransformersEngine, max_new_tokens=8)
    assert selection.measure(feedback_world / "start") == selection.measure(feedback_world / "start") != 0.0
    with pytest.raises(TrainingError, match="makes a claim"):
        held_out(instructions, engine, RuleSplitter("none", lambda _: []), TransformersEngine).measure(
            feedback_world / "start"
        )


# --- settings and errors ------------------------------------------------------------------------------------------


def test_overrides_reach_feedback_loss_and_training() -> None:
    settings = rlaif_settings("rlaifv", {"candidates": 5, "beta": 0.2, "epochs": 2, "lora": True})
    assert (settings.candidates, settings.beta, settings.epochs) == (5, 0.2, 2)
    assert settings.merge_adapter


@pytest.mark.parametrize(("preset", "overrides"), [("rlaifv", {"candidate": 5}), ("rlaif", {})])
def test_unknown_presets_and_settings_are_refused(preset: str, overrides: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"unknown settings candidate; known: .*candidates.*lora|unknown preset"):
        rlaif_settings(preset, overrides)


def test_another_setting_in_the_same_folder_is_refused(feedback_run: RlaifResult, feedback_world: Path) -> None:
    with pytest.raises(RecordError, match="other training"):
        run(feedback_world, feedback_run.checkpoint, overrides={"beta": 0.3})


def test_no_pair_left_is_an_error_with_counts(feedback_world: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no preference pair is left .* scored 0, .* pairs 0"):
        run(feedback_world, tmp_path, splitter=RuleSplitter("none", lambda text: []))


def test_missing_images_are_named_before_any_work(feedback_world: Path, tmp_path: Path) -> None:
    rows = [{"id": i, "image": f"no/{i}.png", "prompt": "What?"} for i in range(5)]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"5 of 5 images cannot be used: 0: .*no/0\.png"):
        read_instructions(prompts)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "1: not JSON"),
        ("[]", "1: expected an object"),
        ('{"id": "a", "prompt": ""}', "expected text under id and prompt"),
        ('{"id": "a", "prompt": "x", "image": 3}', "path or null"),
        ('{"id": "a", "prompt": "x", "img": "a.png"}', "1: no image .*; keys here: id, img, prompt"),
        (
            '{"id": "a", "prompt": "x", "image": null}\n{"id": "a", "prompt": "y", "image": null}',
            "2: id 'a' occurs twice",
        ),
        ("", "no prompts"),
    ],
)
def test_bad_prompts_files_are_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "prompts.jsonl").write_text(line)
    with pytest.raises(DataError, match=message):
        read_instructions(tmp_path / "prompts.jsonl")
    with pytest.raises(DataError, match="no such prompts file"):
        read_instructions(tmp_path / "absent.jsonl")


def test_the_oracle_measures_pairs_and_labels(feedback_world: Path, tmp_path: Path) -> None:
    result = run(
        feedback_world,
        tmp_path,
        overrides={"iterations": 1},
        oracle=lambda one: (0, len(set(filter(str.isalpha, one.text)))),
    )
    row = result.iterations[0]
    assert {"pair_precision", "label_agreement", "true_score"} <= row.keys()
    assert 0 <= row["pair_precision"] <= 1


# --- rounds -------------------------------------------------------------------------------------------------------


def numbered(count: int) -> list[Instruction]:
    return [Instruction(str(i), None, "What?", Path()) for i in range(count)]


@pytest.mark.parametrize(("count", "size"), [(12, 4), (10, 4), (3, 4), (4, 4)])
def test_rounds_use_all_instructions_before_repeating_one(count: int, size: int) -> None:
    asked = [[row.id for row in rounds(numbered(count), size, number, seed=0)] for number in (1, 2, 3)]
    assert all(len(set(one)) == len(one) == min(size, count) for one in asked)
    together = [row for one in asked for row in one][:count]
    assert len(set(together)) == len(together)


def test_a_preset_can_be_given_as_such(feedback_world: Path) -> None:
    mine = replace(rlaif_settings("rlaifv", OVERRIDES), name="mine")
    assert rlaif_settings(mine) == mine
