"""`evalkit align` as it is typed: exit codes and what is printed."""

from dataclasses import replace
from pathlib import Path

import pytest
from preference_data import make_pairs
from tiny_models import save_tiny

from aligners.preference.pairs import write_pairs
from evalkit.__main__ import main

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


@pytest.mark.parametrize(
    ("change", "words", "code", "message"),
    [
        ({"image": "no.png"}, (), 3, "pair '0': image 'no.png' is missing: "),
        ({}, ("--set", "average=no"), 1, "average is true or false, not 'no'"),
        ({}, ("--preset", "ddpo"), 1, "unknown preset 'ddpo'; known: ddpo-paper"),
        ({"prompt": "<image> What?"}, (), 3, "leave it out: the chat template places the image"),
        ({}, ("--set", "learning_rate=1e30", "--set", "max_steps=6"), 3, "the last good training checkpoint is "),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(change, words, code, message, start, tmp_path, capsys):
    pairs = make_pairs(tmp_path)
    assert ddpo(start, tmp_path, [replace(pairs[0], **change), *pairs[1:]], *words) == code
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evalkit: ")]
    assert message in line
