"""`evalkit align` as it is typed: exit codes and what is printed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_server import FaultyServer
from preference_data import make_pairs, write_images
from rlaif_world import OVERRIDES, letters
from tiny_models import save_tiny

from aligners.feedback.splitting import RuleSplitter
from aligners.preference.pairs import read_pairs, write_pairs
from aligners.training.checkpoint import read_card
from aligners.training.run_folder import LOG, read_log
from evalkit.__main__ import main
from evalkit.miniature.files import write_world
from evalkit.runs.records import read_manifest

QUICK = ["--set", "batch_size=4", "--set", "max_steps=1", "--set", "learning_rate=1e-3"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save_tiny("llava", tmp_path_factory.mktemp("start"))


def ddpo(start: Path, folder: Path, pairs, *words: str) -> int:
    write_pairs(folder / "pairs.jsonl", pairs)
    paths = ["--model", str(start), "--data", str(folder / "pairs.jsonl"), "--output-path", str(folder / "out")]
    return main(["align", "ddpo", *paths, *QUICK, *words])


def test_a_training_says_what_it_left_out(start, tmp_path, capsys):
    pairs = make_pairs(tmp_path)
    assert ddpo(start, tmp_path, [replace(pairs[0], chosen=""), *pairs[1:]]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "left out: 1 pairs: an empty response"
    assert out[1] == "3 pairs: no changed token in chosen (kept)"
    assert out[2].startswith(f"{tmp_path / 'out'}: 7 pairs, 1 steps, ")
    assert "% of the saved weights are, bit by bit, those it started from" in out[3]


def test_rlaif_chooses_inside_its_rounds_and_says_how_much_of_the_weights_stayed(
    feedback_world, tmp_path, monkeypatch, capsys
):
    """RLAIF-V took the best of 16 checkpoints of each round."""

    class Letters(RuleSplitter):
        def __init__(self):
            super().__init__("letters", letters)

    monkeypatch.setattr("aligners.rlaif.RuleSplitter", Letters)
    write_images(tmp_path / "images", 8)
    rows = [{"id": f"p{i}", "image": f"images/{i}.png", "prompt": "What is there?"} for i in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = ["--model", str(feedback_world / "start"), "--prompts", str(tmp_path / "prompts.jsonl")]
    changes = {**OVERRIDES, "prompts_per_round": 8, "held_out": 4, "select": "best", "batch_size": 8}
    changes |= {"eval_steps": 1, "save_steps": 1, "keep_checkpoints": 2}
    words = [
        word for name, value in changes.items() for word in ("--set", f"{name}={json.dumps(value).strip(chr(34))}")
    ]
    assert main(["align", "rlaif", *paths, "--output-path", str(tmp_path / "out"), *words]) == 0
    for number in (1, 2):
        folder = tmp_path / "out" / f"iteration_{number}" / "checkpoint"
        assert "held-out pairs" in read_card(folder).selection
        assert len(list((folder / "checkpoints").glob("step-*"))) == 2
        lines = read_log(folder / LOG)
        assert all("held_out_loss" in line for line in lines)
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"\d+\.\d, \d+\.\d % of the saved weights are, bit by bit, those each iteration started from", last)


def test_a_plan_is_printed_and_nothing_is_trained(start, tmp_path, capsys):
    words = ("--plan", "--tokens-per-second", "100", "--set", "micro_batch_size=2")
    assert ddpo(start, tmp_path, make_pairs(tmp_path), *words) == 0
    out = capsys.readouterr().out
    assert out.startswith("training on 8 pairs\n")
    for line in ("micro-batch     2 a device, 2 accumulated", "steps           1 over 8 rows", "at 100 tokens/s"):
        assert line in out
    assert not (tmp_path / "out").exists()


def test_a_plan_says_what_does_not_fit(start, tmp_path, capsys):
    assert ddpo(start, tmp_path, make_pairs(tmp_path), "--plan", "--device-memory", "0.0001", "--tokens", "64") == 0
    assert "does not fit: 0.0 GB of 0.0001 GB" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["trl", "llama-factory", "ms-swift", "evalkit"])
def test_pairs_go_to_other_trainers_and_come_back(form, tmp_path, capsys):
    write_pairs(tmp_path / "pairs.jsonl", make_pairs(tmp_path))
    there = tmp_path / "there" / f"pairs.json{'' if form == 'llama-factory' else 'l'}"
    assert main(["pairs", str(tmp_path / "pairs.jsonl"), "--to", form, "--output-path", str(there)]) == 0
    assert f"8 rows for {form}" in capsys.readouterr().out
    back = tmp_path / "back.jsonl"
    assert main(["pairs", str(there), "--to", "evalkit", "--output-path", str(back)]) == 0
    before, after = (list(read_pairs(path)) for path in (tmp_path / "pairs.jsonl", back))
    assert [(p.id, p.prompt, p.chosen, p.rejected, p.meta) for p in before] == [
        (p.id, p.prompt, p.chosen, p.rejected, p.meta) for p in after
    ]
    assert [Path(p.image).name for p in before] == [Path(p.image).name for p in after]
    assert all(Path(p.image).is_file() for p in after)


def test_the_form_and_the_file_belong_together(tmp_path, capsys):
    write_pairs(tmp_path / "pairs.jsonl", make_pairs(tmp_path))
    assert main(["pairs", str(tmp_path / "pairs.jsonl"), "--to", "trl"]) == 1
    assert "--to and --output-path belong together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words", "code", "message"),
    [
        ({"image": "no.png"}, (), 3, "pair '0': image 'no.png' is missing: "),
        ({}, ("--set", "average=no"), 1, "average is true or false, not 'no'"),
        ({}, ("--preset", "ddpo"), 1, "unknown preset 'ddpo'; known: ddpo-paper"),
        ({"prompt": "<image> What?"}, (), 3, "leave it out: the chat template places the image"),
        ({}, ("--set", "learning_rate=1e30", "--set", "max_steps=6"), 3, "no training checkpoint was saved yet"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(change, words, code, message, start, tmp_path, capsys):
    pairs = make_pairs(tmp_path)
    assert ddpo(start, tmp_path, [replace(pairs[0], **change), *pairs[1:]], *words) == code
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evalkit: ")]
    assert message in line


def test_a_tracker_that_is_not_installed_is_named_with_the_remedy(start, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("aligners.commands.library_version", lambda name: None)
    assert ddpo(start, tmp_path, make_pairs(tmp_path), "--report-to", "wandb") == 1
    assert "--report-to wandb: pip install wandb" in capsys.readouterr().err


# --- compare ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("scenes"), 4, 0)


def compare(scenes: Path, out: Path, *words: str) -> int:
    return main(["align", "compare", "--tasks", "pope", "--world", str(scenes), "--output-path", str(out), *words])


def test_models_of_one_server_are_compared(scenes, tmp_path, capsys):
    """As adapters are that vLLM serves beside their base."""
    with FaultyServer(answer=lambda text: "Yes, there is.", keep=1000) as server:
        words = ("base", "tuned", "--engine", "openai", "--base-url", server.url)
        assert compare(scenes, tmp_path, *words) == 0
        asked = {body["model"] for body in server.bodies}
    assert asked == {"base", "tuned"}
    for name in ("base", "tuned"):
        model = read_manifest(tmp_path / name / "pope")["model"]
        assert (model["engine"], model["model"]) == ("openai", name)
    assert re.search(r"^tuned ", capsys.readouterr().out, re.MULTILINE)


def test_an_engine_of_ones_own_compares_checkpoints_too(scenes, tmp_path, capsys):
    assert compare(scenes, tmp_path, "one", "two", "--engine", "toy:always_yes") == 0
    assert read_manifest(tmp_path / "two" / "pope")["model"]["model"] == "two"
    assert compare(scenes, tmp_path / "b", "one", "two", "--engine", "toy:always_yes", "--dtype", "float32") == 1
    assert "--dtype: not for the engine toy:always_yes" in capsys.readouterr().err
