import base64
import io
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from aligners.preference.datasets import read_preferences
from aligners.preference.pairs import Pair, write_pairs
from evalkit.errors import DataError
from evalkit.images import ImageFile


def png(colour: str = "red", side: int = 12) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


PACKED = base64.b64encode(png(side=3)).decode()


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)


def rlhf_v_row(**changes):
    """A row with the columns of RLHF-V-Dataset."""
    text = {"question": "What is it?", "chosen": "A red square.", "rejected": "A dog."}
    row = {
        "ds_name": "RLHF-V",
        "image": {"bytes": png(), "path": "x.png"},
        "text": json.dumps(text),
        "origin_dataset": "made up",
        "origin_split": json.dumps({"model": "m", "type": "question answering"}),
        "idx": 7,
        "image_path": "x.png",
    }
    return row | changes


def rlaif_v_row(**changes):
    """A row with the columns of RLAIF-V-Dataset."""
    row = {
        "ds_name": "RLAIF-V",
        "image": {"bytes": png("blue"), "path": "y.png"},
        "question": "What is it?",
        "chosen": "A blue square.",
        "rejected": "A cat.",
        "origin_dataset": "made up",
        "idx": 3,
        "image_path": "y.png",
    }
    return row | changes


@pytest.mark.parametrize(("make", "chosen", "name"), [
    (rlhf_v_row, "A red square.", "RLHF-V-7"),
    (rlaif_v_row, "A blue square.", "RLAIF-V-3"),
])  # fmt: skip
def test_both_data_sets_are_read_from_parquet(make, chosen, name, tmp_path):
    write_parquet(tmp_path / "data.parquet", [make()])
    (pair,) = read_preferences(tmp_path / "data.parquet", tmp_path / "images")
    assert (pair.id, pair.prompt, pair.chosen) == (name, "What is it?", chosen)
    assert pair.images[0].open().size == (12, 12)
    assert pair.meta["origin_dataset"] == "made up"


def test_the_older_form_holds_a_list(tmp_path):
    text = json.dumps(["What is it?", "A red square.", "A dog.", [0.0]])
    write_parquet(tmp_path / "data.parquet", [rlhf_v_row(text=text)])
    (pair,) = read_preferences(tmp_path / "data.parquet", tmp_path / "images")
    assert (pair.chosen, pair.rejected) == ("A red square.", "A dog.")


def test_a_folder_of_files_is_one_data_set_and_equal_images_are_stored_once(tmp_path):
    for number in range(2):
        write_parquet(tmp_path / f"{number}.parquet", [rlaif_v_row(idx=number), rlaif_v_row(idx=9)])
    pairs = read_preferences(tmp_path, tmp_path / "images")
    assert len({pair.id for pair in pairs}) == len(pairs) == 4
    assert len({pair.image for pair in pairs}) == len(list((tmp_path / "images").iterdir())) == 1


def test_json_lines_hold_paths_or_base64(tmp_path):
    (tmp_path / "z.png").write_bytes(png())
    large = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(large, "PNG")
    embedded = base64.b64encode(large.getvalue()).decode()
    rows = [
        {"idx": 0, "question": "<image>\nWhat?", "chosen": "a", "rejected": "b", "image": "z.png"},
        {"idx": 1, "question": "What?", "chosen": "a", "rejected": "b", "image": embedded},
        {"question": "What?", "chosen": "a", "rejected": "b", "image": None},
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = read_preferences(tmp_path / "rows.jsonl", tmp_path / "images")
    assert pairs[0].prompt == "What?"
    assert pairs[0].image == str(tmp_path / "z.png")
    assert pairs[1].images[0].open().size == (64, 64)
    assert pairs[2].image is None


def test_our_own_pairs_file_is_read_as_it_is(tmp_path):
    pairs = [Pair("1", "a.png", "What is it?", "x", "y", {"from": "here"})]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    found = read_preferences(tmp_path / "pairs.jsonl", tmp_path / "unused")
    assert found == pairs
    assert found[0].images == (ImageFile(tmp_path, "a.png"),)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (rlaif_v_row(chosen=None), "data.parquet: row 1: .*wrong or missing: chosen"),
        ({"image": None, "question": "?", "chosen": "a"}, "wrong or missing: rejected"),
        ({"question": "?", "chosen": "a", "rejected": "b"}, "no column image"),
        (rlhf_v_row(text="{"), "column text: not JSON"),
        (rlhf_v_row(text="[1]"), "wrong or missing: chosen, question, rejected"),
        (rlaif_v_row(image=5, image_path=None), "neither bytes nor a path"),
    ],
)
def test_malformed_rows_are_named(row, message, tmp_path):
    write_parquet(tmp_path / "data.parquet", [row])
    with pytest.raises(DataError, match=message):
        read_preferences(tmp_path / "data.parquet", tmp_path / "images")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.parquet", b"PAR1 torn", "cannot be read as Parquet"),
        ("data.txt", b"?", "unknown kind of file"),
    ],
)
def test_unreadable_files_are_named(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_preferences(tmp_path / name, tmp_path / "images")


def test_what_is_neither_file_nor_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_preferences(tmp_path / "absent.parquet", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no Parquet file"):
        read_preferences(tmp_path / "empty", tmp_path)
    with pytest.raises(DataError, match="cannot be fetched"):
        read_preferences("nobody/nothing-here", tmp_path)


# --- forms that whole papers ship ---------------------------------------------------------------------------------


def turns(question, answer):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_povid_pairs_two_conversations(suffix, tmp_path):
    rows = [
        {"id": "7", "image": "a.png", "conversations": turns("<image>\nWhat is it?", "A cup."),
         "rejected_conversations": turns("<image>\nWhat is it?", "A dog.")},
        {"image": "a.png", "conversations": turns("What?", "x"), "rejected_conversations": turns("What?", "y")},
    ]  # fmt: skip
    path = tmp_path / f"povid{suffix}"
    path.write_text(json.dumps(rows)) if suffix == ".json" else write_lines(path, rows)
    first, second = read_preferences(path, tmp_path / "images")
    assert first == Pair("7", str(tmp_path / "a.png"), "What is it?", "A cup.", "A dog.")
    assert (second.chosen, second.rejected) == ("x", "y")
    assert second.id


def test_povid_with_other_turns_is_refused(tmp_path):
    row = {"image": "a.png", "conversations": turns("a", "b") * 2, "rejected_conversations": turns("a", "c")}
    with pytest.raises(DataError, match=r"povid.jsonl:1: expected one human and one gpt turn"):
        read_preferences(write_lines(tmp_path / "povid.jsonl", [row]), tmp_path)
    row = {"image": "a.png", "conversations": turns("a", "b"), "rejected_conversations": turns("z", "c")}
    with pytest.raises(DataError, match="different questions"):
        read_preferences(write_lines(tmp_path / "povid.jsonl", [row]), tmp_path)


def rated(response, *ratings):
    aspects = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")
    annotations = {aspect: {"Rating": rating, "Rationale": ""} for aspect, rating in zip(aspects, ratings, strict=True)}
    return {"model": "m", "response": response, "annotations": annotations}


def test_vlfeedback_pairs_every_two_completions_with_other_mean_ratings(tmp_path):
    row = {
        "id": "v1", "prompt": "What is it?", "image": {"bytes": png(), "path": None},
        "completions": [rated("a", "3", "4", "5"), rated("b", "5", "5", "5"), rated("c", "4", "4", "4")],
    }  # fmt: skip
    write_parquet(tmp_path / "data.parquet", [row])
    pairs = read_preferences(tmp_path / "data.parquet", tmp_path / "images")
    assert [(pair.id, pair.chosen, pair.rejected) for pair in pairs] == [("v1-0-1", "b", "a"), ("v1-1-2", "b", "c")]
    assert pairs[0].images[0].open().size == (12, 12)
    row["completions"] = [rated("a", "N/A", "4", "5"), rated("b", "5", "5", "5")]
    write_parquet(tmp_path / "data.parquet", [row])
    with pytest.raises(DataError, match="row 1: a rating is no number"):
        read_preferences(tmp_path / "data.parquet", tmp_path / "images")


def test_trl_rows_may_embed_their_image(tmp_path):
    row = {
        "images": [{"bytes": png(), "path": "x.png"}],
        "prompt": [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A cup."}]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}],
    }
    write_parquet(tmp_path / "data.parquet", [row])
    (pair,) = read_preferences(tmp_path / "data.parquet", tmp_path / "images")
    assert (pair.prompt, pair.chosen, pair.rejected) == ("What?", "A cup.", "A dog.")
    assert pair.images[0].open().size == (12, 12)


@pytest.mark.parametrize("splits", [None, ["train", "test"], ["only"], ["a", "b"]])
def test_a_folder_saved_by_datasets_is_read(splits, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [rlaif_v_row(idx=i) for i in range(3)]
    data = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    (data if splits is None else datasets.DatasetDict(dict.fromkeys(splits, data))).save_to_disk(tmp_path / "saved")
    if splits == ["a", "b"]:
        with pytest.raises(DataError, match="several splits, none called train"):
            read_preferences(tmp_path / "saved", tmp_path / "images")
        return
    pairs = read_preferences(tmp_path / "saved", tmp_path / "images")
    assert [pair.id for pair in pairs] == ["RLAIF-V-0", "RLAIF-V-1", "RLAIF-V-2"]
    assert pairs[0].images[0].open().size == (12, 12)


def test_plain_lines_need_no_id(tmp_path):
    rows = [{"image": "a.png", "prompt": "What?", "chosen": f"x{i}", "rejected": "y"} for i in range(2)]
    pairs = read_preferences(write_lines(tmp_path / "plain.jsonl", rows), tmp_path)
    assert [(pair.prompt, pair.chosen, pair.image) for pair in pairs] == [
        ("What?", "x0", str(tmp_path / "a.png")), ("What?", "x1", str(tmp_path / "a.png")),
    ]  # fmt: skip
    assert len({pair.id for pair in pairs}) == 2


@pytest.mark.parametrize(
    "image",
    [
        *({"image": {"bytes": PACKED, **more}} for more in ({}, {"path": None}, {"path": "elsewhere.png"})),
        *({"image": value} for value in (PACKED, PACKED.rstrip("="), f"data:image/png;base64,{PACKED}", [PACKED])),
        *({"image": [{"bytes": PACKED}]}, {"images": [{"bytes": PACKED}]}, {"images": [PACKED]}),
        *({"image": {"bytes": None, "path": "a.png"}}, {"image_path": "a.png"}, {"images": "a.png"}),
    ],
    ids=lambda image: str(image)[:48],
)
def test_our_own_rows_hold_their_image_in_every_dress(image, tmp_path):
    (tmp_path / "a.png").write_bytes(base64.b64decode(PACKED))
    row = {"id": "7", "prompt": "What?", "chosen": "A dog.", "rejected": "A cat.", **image}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    (pair,) = read_preferences(tmp_path / "pairs.jsonl", tmp_path / "images")
    assert (pair.id, pair.prompt, pair.chosen) == ("7", "What?", "A dog.")
    assert pair.images[0].open().size == (3, 3)


def test_thoughts_in_a_pair_are_taken_off_unless_it_says_that_they_are_kept(tmp_path):
    rows = [
        {"chosen": "<think>A cat? No.</think>A dog.", "rejected": "A cat."},
        {"chosen": "A dog.", "rejected": "[THINK]Hm.[/THINK] A cat."},
        {"chosen": "<think>A dog", "rejected": "A cat."},
        {"chosen": "<think>No.</think>A dog.", "rejected": "A cat.", "meta": {"thoughts": "kept"}},
    ]
    lines = [{"id": str(n), "image": None, "prompt": "What?", **row} for n, row in enumerate(rows)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pairs = read_preferences(path, tmp_path)
    assert [(pair.chosen, pair.rejected) for pair in pairs[:2]] == [("A dog.", "A cat.")] * 2
    assert pairs[2].defect() == "an unfinished thought"
    assert pairs[3].chosen == "<think>No.</think>A dog."
    assert [pair.meta.get("thoughts") for pair in pairs] == ["removed", "removed", "unfinished", "kept"]
