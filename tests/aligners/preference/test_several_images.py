"""A row about several images is refused by its place, in every form and by every command, and never loses one."""

import json

import pytest
from preference_data import write_images

from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.feedback.instructions import read_instructions
from aligners.preference.datasets import read_preferences
from aligners.preference.pairs import read_pairs
from evalkit.__main__ import main
from evalkit.errors import DataError

TWO = ["0.png", "1.png"]
PLAIN = {"id": "a", "image": "0.png", "prompt": "What?", "chosen": "A cup.", "rejected": "A dog."}
ROW = {"idx": 3, "image": "0.png", "question": "<image>\nWhat?", "chosen": "A cup.", "rejected": "A dog."}
SHOWN = [{"type": "image"}, {"type": "text", "text": "What?"}]


def said(text, who="user"):
    return [{"role": who, "content": text}]


TRL = {"images": ["0.png"], "prompt": said(SHOWN), "chosen": said("a", "assistant"), "rejected": said("b", "assistant")}
FACTORY = {
    "conversations": [{"from": "human", "value": "<image>What?"}],
    "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}, "images": ["0.png"],
}  # fmt: skip
SWIFT = {
    "messages": [*said("<image>What?"), *said("a", "assistant")],
    "rejected_response": "b",
    "images": ["0.png"],
}
ASKED = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cup."}]
POVID = {"image": "0.png", "conversations": ASKED, "rejected_conversations": [ASKED[0], {"from": "gpt", "value": "x"}]}
COMPARED = {
    "image": "0.png", "conversations": ASKED, "output_1": {"value": "a"}, "output_2": {"value": "b"}, "preference": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        (PLAIN, {"image": TWO}),
        (PLAIN, {"images": TWO}),
        (PLAIN, {"image_2": "1.png"}),
        (ROW, {"image": TWO}),
        (ROW, {"image": None, "images": TWO}),
        (ROW, {"images": TWO}),
        (ROW, {"image_1": "1.png"}),
        (ROW, {"question": "<image>\n<image>\nWhich is larger?"}),
        (TRL, {"images": TWO}),
        (TRL, {"prompt": said([SHOWN[0], *SHOWN])}),
        (FACTORY, {"images": TWO}),
        (FACTORY, {"conversations": [{"from": "human", "value": "<image><image>Which?"}]}),
        (SWIFT, {"images": TWO}),
        (SWIFT, {"messages": [*said("<image><image>Which?"), *said("a", "assistant")]}),
        (POVID, {"image": TWO}),
        (POVID, {"conversations": [{"from": "human", "value": "<image>\n<image>\nWhat?"}, ASKED[1]]}),
    ],
)
def test_a_pair_with_several_images_is_refused_by_its_row(row, changed, tmp_path):
    write_images(tmp_path, 2)
    other = {**row, **changed}
    if "id" in row:
        other["id"] = "b"
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(row)}\n{json.dumps(row | ({'id': 'c'} if 'id' in row else {'idx': 4}))}\n")
    assert [pair.images[0].name for pair in read_preferences(path, tmp_path / "kept")] == ["0.png", "0.png"]
    path.write_text(f"{json.dumps(row)}\n{json.dumps(other)}\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: 2 images; a pair has one or none"):
        read_preferences(path, tmp_path / "kept")


def test_a_pairs_file_whose_first_line_has_several_images_is_refused_too(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PLAIN | {"image": TWO}) + "\n")
    for read in (lambda path: list(read_pairs(path)), lambda path: read_preferences(path, tmp_path)):
        with pytest.raises(DataError, match=r"pairs\.jsonl:1: 2 images"):
            read(tmp_path / "pairs.jsonl")


def test_a_placeholder_in_a_response_or_in_two_columns_shows_no_second_image(tmp_path):
    write_images(tmp_path, 1)
    row = ROW | {"conversations": ASKED, "chosen": "It says <image> and <image>."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (pair,) = read_preferences(tmp_path / "rows.jsonl", tmp_path / "kept")
    assert (pair.prompt, pair.chosen) == ("What?", "It says <image> and <image>.")


@pytest.mark.parametrize("read", [read_comparisons, read_rollout_prompts])
@pytest.mark.parametrize(
    "changed",
    [{"image": TWO}, {"images": TWO}, {"conversations": [{**ASKED[0], "value": "<image><image>?"}, ASKED[1]]}],
)
def test_comparisons_and_prompts_of_fact_rlhf_are_refused_by_their_row(read, changed, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([COMPARED]))
    assert read(path, tmp_path)[0].image.name == "0.png"
    path.write_text(json.dumps([COMPARED, COMPARED | changed]))
    with pytest.raises(DataError, match=r"rows\.json: row 1: 2 images"):
        read(path, tmp_path)


def test_prompts_of_online_feedback_are_refused_by_their_line(tmp_path):
    rows = [{"id": "a", "image": None, "prompt": "?"}, {"id": "b", "image": TWO, "prompt": "?"}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"prompts\.jsonl:2: 2 images; a prompt has one or none"):
        read_instructions(tmp_path / "prompts.jsonl")


@pytest.mark.parametrize(
    "words", [["align", "ddpo", "--model", "none", "--data"], ["pairs"]], ids=["align ddpo", "pairs"]
)
def test_the_commands_say_which_row(words, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW | {'image': TWO})}\n")
    extra = ["--to", "trl"] if words == ["pairs"] else []
    assert main([*words, str(path), *extra, "--output-path", str(tmp_path / "out.jsonl")]) != 0
    assert "rows.jsonl:2: 2 images; a pair has one or none" in capsys.readouterr().err
