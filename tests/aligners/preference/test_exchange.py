"""Pairs for other trainers: there and back without loss, and what cannot be said in their forms is refused."""

import json
from dataclasses import replace

import pytest

from aligners.preference.exchange import FORMS, form_of, pair_from, write_exchange
from aligners.preference.pairs import Pair
from evalkit.errors import DataError, UsageError

PAIRS = [
    Pair("a", "x.png", "What is here?", 'A "dog"\nand a cup.', "A cat.", {"score": 1, "parts": [1, None]}),
    Pair("b", None, "Wer?", "Grüße", "Nein"),
]


def placed(folder):
    return [replace(pair, folder=folder) for pair in PAIRS]


SYSTEM = {"role": "system", "content": "s"}
ASK, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
HUMAN = {"from": "human", "value": "q"}


def rows_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_pairs_come_back_as_they_were(form, tmp_path):
    path = tmp_path / "out" / "pairs.json"
    assert write_exchange(placed(tmp_path), path, form) == 2
    rows = rows_of(path)
    assert all(form_of(row) == form for row in rows)
    first, second = (pair_from(row, f"row {i}", i) for i, row in enumerate(rows))
    assert first.image == str(tmp_path.resolve() / "x.png")
    assert (first.id, first.prompt, first.chosen, first.rejected, first.meta) == (
        "a",
        "What is here?",
        PAIRS[0].chosen,
        "A cat.",
        PAIRS[0].meta,
    )
    assert second == PAIRS[1]


def test_the_markers_stand_where_each_trainer_looks_for_them(tmp_path):
    for form, place in {
        "trl": lambda row: row["prompt"][0]["content"],
        "llama-factory": lambda row: row["conversations"][0]["value"],
        "ms-swift": lambda row: row["messages"][0]["content"],
    }.items():
        write_exchange(PAIRS, tmp_path / "p", form)
        texts = [place(row) for row in rows_of(tmp_path / "p")]
        assert texts == ["What is here?" if form == "trl" else "<image>What is here?", "Wer?"]


def test_llama_factory_finds_the_file_by_its_name_and_other_data_sets_stay(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "o.json"}}')
    write_exchange(PAIRS, tmp_path / "mine.json", "llama-factory")
    listing = json.loads((tmp_path / "dataset_info.json").read_text())
    assert set(listing) == {"other", "mine"}
    assert listing["mine"]["ranking"] is True
    assert listing["mine"]["columns"]["messages"] == "conversations"


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        (Pair("p", None, "Is <image> a token?", "Yes", "No"), "'p'.*'<image>'"),
        (Pair("p", None, "Q", "Same", "Same "), "'p'.*same text"),
    ],
)
def test_what_another_trainer_would_misread_is_refused(pair, match, tmp_path):
    with pytest.raises(DataError, match=match):
        write_exchange([pair], tmp_path / "p", "trl")
    assert not (tmp_path / "p").exists()


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(UsageError, match="trl, llama-factory, ms-swift"):
        write_exchange(PAIRS, tmp_path / "p", "axolotl")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"images": ["a", "b"], "prompt": [], "chosen": [], "rejected": []}, "2 images"),
        ({"messages": [SYSTEM, ASK, ANSWER], "rejected_response": "b"}, "system, user"),
        ({"conversations": [HUMAN], "chosen": {"from": "gpt"}, "rejected": {}}, "llama-factory.*value"),
        ({"prompt": [ASK], "chosen": [], "rejected": []}, "form trl"),
        ({"images": [3], "prompt": [], "chosen": [], "rejected": []}, "a path here, got int"),
        ({"meta": "{", "prompt": [ASK], "chosen": [ANSWER], "rejected": [ANSWER]}, "meta is not JSON"),
    ],
)
def test_rows_that_are_no_pair_are_refused_by_row(row, match):
    with pytest.raises(DataError, match=rf"f\.json:7: .*{match}"):
        pair_from(row, "f.json:7", 7)


def test_trl_rows_may_hold_the_prompt_in_both_responses_and_blocks_for_texts():
    ask = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q?"}]}
    row = {
        "images": ["i.png"],
        "chosen": [ask, {"role": "assistant", "content": "A"}],
        "rejected": [ask, {"role": "assistant", "content": "B"}],
    }
    assert pair_from(row, "w", 3) == Pair("3", "i.png", "Q?", "A", "B")


def test_rows_of_other_data_are_in_no_form():
    assert pair_from({"question": "q", "chosen": "a", "rejected": "b"}, "w", 1) is None


def test_trl_trains_on_the_file_as_it_is(tmp_path):
    datasets = pytest.importorskip("datasets")
    from PIL import Image
    from tiny_models import save_tiny
    from transformers import AutoProcessor
    from trl import DPOConfig, DPOTrainer

    Image.new("RGB", (28, 28)).save(tmp_path / "x.png")
    write_exchange(placed(tmp_path)[:1] * 2, tmp_path / "p.jsonl", "trl")
    data = datasets.load_dataset("json", data_files=str(tmp_path / "p.jsonl"), split="train", cache_dir=tmp_path)
    data = data.cast_column("images", datasets.Sequence(datasets.Image()))
    folder = save_tiny("llava", tmp_path / "model")
    arguments = DPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        max_length=None,
        bf16=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    processor = AutoProcessor.from_pretrained(folder)
    done = DPOTrainer(str(folder), args=arguments, train_dataset=data, processing_class=processor).train()
    assert done.training_loss == pytest.approx(0.6931, abs=1e-3)
