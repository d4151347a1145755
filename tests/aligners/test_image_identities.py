"""Hashes of training data name an image as its file does, wherever its folder lies: they were taken before rows held
their images, so that runs and cards of that time are still known."""

import json
from pathlib import Path

import pytest

from aligners.ddpo import _identity, dpo_settings, pairs_hash
from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.fact_rlhf.inputs import prompts_hash
from aligners.preference.encoding import TokenPair
from aligners.preference.pairs import Pair, read_pairs, write_pairs
from aligners.reward_model.comparisons import comparisons_hash
from evalkit.images import ImageFile
from evalkit.schema import Prompt

PAIRS = [
    Pair("1", "sub/a.png", "What?", "A cat.", "A dog."),
    Pair("2", "/data/images/b.png", "Why?", "Yes.", "No."),
    Pair("3", None, "Who?", "Me.", "You."),
]
TURN = {"from": "human", "value": "What is it?"}
COMPARISON = {
    "id": "c1", "image": "sub/a.png", "conversations": [TURN], "preference": 2,
    "output_1": {"value": "A cat."}, "output_2": {"value": "A dog."},
}  # fmt: skip
PROMPT = {"id": "p", "image": "sub/a.png", "conversations": [{"from": "human", "value": "What?"}]}


@pytest.fixture(params=["here", "elsewhere"])
def folder(request, tmp_path):
    (tmp_path / request.param).mkdir()
    return tmp_path / request.param


def test_pairs(folder):
    write_pairs(folder / "pairs.jsonl", PAIRS)
    pairs = list(read_pairs(folder / "pairs.jsonl"))
    assert [pair.images for pair in pairs] == [
        (ImageFile(folder, "sub/a.png"),),
        (ImageFile(Path("/data/images"), "b.png"),),
        (),
    ]
    assert pairs_hash(pairs) == "bb302d0feefd4b69"
    tokens = [TokenPair(pair.id, Prompt(pair.id, pair.prompt, pair.images), (1, 2), (1, 3)) for pair in pairs]
    assert _identity(dpo_settings("dpo"), "h", tokens)["pairs"] == "5aa53ef6f1ea671d"


def test_a_pairs_file_names_its_images_and_no_folder(folder):
    write_pairs(folder / "pairs.jsonl", PAIRS)
    write_pairs(folder / "again.jsonl", read_pairs(folder / "pairs.jsonl"))
    assert (folder / "again.jsonl").read_text() == (folder / "pairs.jsonl").read_text()
    row = json.loads((folder / "again.jsonl").read_text().splitlines()[0])
    assert list(row) == ["id", "image", "prompt", "chosen", "rejected", "meta"]
    assert row["image"] == "sub/a.png"


def test_comparisons(folder, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([COMPARISON]))
    rows = read_comparisons(tmp_path / "rows.json", folder)
    assert rows[0].image == ImageFile(folder, "sub/a.png")
    assert comparisons_hash(rows) == "a4d54b34d49a9439"


def test_rollout_prompts(folder, tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([PROMPT]))
    rows = read_rollout_prompts(tmp_path / "rows.json", folder)
    assert rows[0].image == ImageFile(folder, "sub/a.png")
    assert prompts_hash(rows) == "8fa67f5061b3dec7"
