"""Responses made elsewhere: every format joins by id or content; whatever does not fit is named."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from evalkit.errors import DataError, UsageError
from evalkit.formats.answers import FORMATS
from evalkit.formats.exporters import EXPORTS, export_records, export_run
from evalkit.formats.importers import import_responses, read_answers
from evalkit.formats.joining import ItemIndex, plain_question
from evalkit.runs.records import SCHEMA
from evalkit.schema import Item


def item(name: str, question: str = "Describe.", image: str | None = None, image_id: str | int | None = None) -> Item:
    from evalkit.images import ImageFile

    picture = ImageFile(Path("images"), image) if image else None
    return Item(name, question, picture, {} if image_id is None else {"image_id": image_id})


CAPTIONED = [item(str(n), "Describe the image.", f"COCO_val2014_{n:012d}.jpg", n) for n in (9, 25, 139)]
NUMBERED = [item(str(n), f"Is there a thing {n}?", f"AMBER_{n}.jpg") for n in (1, 2, 3)]
RECORDS = [
    item("0", "What colour is the cap?", None, "df62a56f"),
    item("1", "Describe the image in detail.", None, "5b18b22f"),
    item("2", "Describe the image in detail.", None, "77aa0011"),
]
POLLED = [
    item(f"{part}/{n}", question, f"COCO_val2014_{image:012d}.jpg")
    for part in ("random", "popular")
    for n, (question, image) in enumerate([("Is there a dog?", 9), ("Is there a car?", 9), ("Is there a dog?", 25)], 1)
]


def write(path: Path, content) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, indent=1))
    else:
        path.write_text(content)
    return path


def excel(rows) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def inspect_log(samples, compression=zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        archive.writestr("header.json", "{}")
        for sample in samples:
            archive.writestr(f"samples/{sample.get('id')}_epoch_{sample.get('epoch', 1)}.json", json.dumps(sample))
    return data.getvalue()


def sample(name, text, **more):
    return {"id": name, "epoch": 1, "input": "Is there?", "output": {"completion": text}, **more}


GOOD = {
    "chair jsonl": ("a.jsonl", [{"image_id": n, "caption": f"c{n}"} for n in (25, 9, 139)], CAPTIONED, "captions"),
    "chair list": ("a.json", [{"image_id": n, "caption": f"c{n}"} for n in (25, 9, 139)], CAPTIONED, "captions"),
    "chair original": (
        "a.json",
        {"overall": {}, "imgToEval": {str(n): {"image_id": n, "caption": f"c{n}", "CIDEr": 1.0} for n in (25, 9, 139)}},
        CAPTIONED,
        "captions",
    ),
    "chair scored": (
        "a.json",
        {"sentences": [{"image_id": n, "caption": f"c{n}"} for n in (139, 9, 25)], "overall_metrics": {}},
        CAPTIONED,
        "captions",
    ),
    "llava": (
        "a.jsonl",
        [{"question_id": n, "prompt": "Describe the image.", "text": f"c{n}", "model_id": "m"} for n in (25, 9, 139)],
        CAPTIONED,
        "llava",
    ),
    "amber": ("a.json", [{"id": n, "response": f"c{n}"} for n in (3, 1, 2)], NUMBERED, "responses"),
    "bare csv": ("a.csv", 'id,response\n3,c3\n1,"c1"\n2,c2\n', NUMBERED, "responses"),
    "own journal": ("a.jsonl", [{"id": str(n), "sample": 0, "text": f"c{n}"} for n in (2, 1, 3)], NUMBERED, "plain"),
    "object halbench": (
        "a.jsonl",
        [{"question": "Describe the image.", "answer": f"Assistant: c{n}", "image_id": n} for n in (25, 9, 139)],
        CAPTIONED,
        "image-answers",
    ),
    "object halbench metainfos": (
        "a.jsonl",
        [{"question": "Describe the image.", "answer": f"c{n}", "metainfos": {"image_id": n}} for n in (25, 9, 139)],
        CAPTIONED,
        "image-answers",
    ),
    "mmhal template": (
        "a.json",
        [
            {"image_id": i.reference["image_id"], "question": i.question, "gt_answer": "x", "model_answer": f"c{i.id}"}
            for i in reversed(RECORDS)
        ],
        RECORDS,
        "filled-template",
    ),
    "vlmevalkit tsv": (
        "a.tsv",
        "index\tquestion\tanswer\tprediction\n"
        + "".join(f"{n}\tIs there a thing {n}? Please answer yes or no.\tYes\tc{n}\n" for n in (2, 1, 3)),
        NUMBERED,
        "vlmevalkit",
    ),
    "vlmevalkit json": (
        "a.json",
        [{"index": n + 70, "question": f"Is there a thing {n}?", "prediction": f"c{n}"} for n in (2, 1, 3)],
        NUMBERED,
        "vlmevalkit",
    ),
    "vlmevalkit xlsx": (
        "a.xlsx",
        lambda: excel(
            [
                ("index", "question", "category", "prediction"),
                *((n, f"Is there a thing {n}?", "x", f"c{n}") for n in (3, 2, 1)),
            ]
        ),
        NUMBERED,
        "vlmevalkit",
    ),
    "lmms-eval": (
        "a.jsonl",
        [
            {
                "doc_id": position,
                "target": "x",
                "filtered_resps": [f"c{n}"],
                "doc_hash": "74234e98",
                "chair_i": {"image_id": n, "pred": f"c{n}"},
            }
            for position, n in enumerate((25, 9, 139))
        ],
        CAPTIONED,
        "lmms-eval",
    ),
    "lmms-eval by media": (
        "a.jsonl",
        [
            {
                "doc_id": p,
                "resps": [[f"c{n}"]],
                "input": "<image>\nDescribe the image.",
                "input_media": [f"/d/COCO_val2014_{n:012d}.jpg"],
            }
            for p, n in enumerate((139, 25, 9))
        ],
        CAPTIONED,
        "lmms-eval",
    ),
    "inspect": ("a.eval", inspect_log([sample(n, f"c{n}") for n in (3, 1, 2)]), NUMBERED, "inspect"),
    "inspect dump": ("a.json", {"version": 2, "samples": [sample(n, f"c{n}") for n in (3, 1, 2)]}, NUMBERED, "inspect"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_file_of_each_format_is_joined_by_id_or_content(tmp_path, name):
    file, content, items, format_name = GOOD[name]
    path = write(tmp_path / file, content() if callable(content) else content)
    if format_name == "inspect":
        items = [Item(i.id, "Is there?", i.image, i.reference) for i in items]
    for chosen in ("auto", format_name):
        found = import_responses(path, items, chosen)
        assert [(response.prompt_id, response.text) for response in found] == [(i.id, f"c{i.id}") for i in items]


def test_every_format_has_a_file_above():
    elsewhere = {"question-answers", "journal", "mapping", "fields"}  # they have tests of their own
    assert {row[3] for row in GOOD.values()} | elsewhere == {entry.name for entry in FORMATS}


def test_parts_are_told_apart_by_image_and_question_or_by_the_file_name(tmp_path):
    rows = [{"question_id": n, "question": POLLED[n - 1].question, "answer": f"a{n}"} for n in (1, 2, 3)]
    paths = [write(tmp_path / f"answers_{part}.jsonl", rows) for part in ("popular", "random")]
    found = import_responses(paths, POLLED)
    assert [(r.prompt_id, r.text) for r in found] == [
        (f"{p}/{n}", f"a{n}") for p in ("random", "popular") for n in (1, 2, 3)
    ]
    renamed = write(tmp_path / "answers.jsonl", rows)
    with pytest.raises(DataError, match=r"fits 2 items, e\.g\. popular/1, random/1"):
        import_responses(renamed, POLLED, partial=True)
    only_random = import_responses(renamed, POLLED[:3])
    assert len(only_random) == 3


def test_a_question_alone_tells_the_item_only_if_it_is_asked_once(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"question": "Is there a car?", "answer": "No"}])
    assert import_responses(path, POLLED[:3], partial=True)[0].prompt_id == "random/2"
    path = write(tmp_path / "b.jsonl", [{"question": "Is there a dog?", "answer": "No"}])
    with pytest.raises(DataError, match=r"b\.jsonl:1 .*fits 2 items"):
        import_responses(path, POLLED[:3], partial=True)


def test_an_id_does_not_match_when_the_question_is_another_one():
    answers = {"index": 2, "question": "What is this animal?", "prediction": "A cat."}
    found, reason = ItemIndex(NUMBERED).find(FORMATS[2].read(_row(answers)), "file")
    assert not found
    assert "item '2' asks another question" in reason


def test_where_all_items_share_one_question_its_wording_does_not_matter(tmp_path):
    rows = [{"question_id": n, "prompt": "Tell me everything.", "text": f"c{n}"} for n in (139, 9, 25)]
    found = import_responses(write(tmp_path / "a.jsonl", rows), CAPTIONED)
    assert [response.text for response in found] == ["c9", "c25", "c139"]


def _row(fields):
    from evalkit.files.rows import Row

    return Row("file.json: entry 1", fields)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"id": 1, "response": "a"}, {"id": 2, "response": "b"}], "1 of 3 items have no answer .*: 3"),
        (
            [{"id": n, "response": "a"} for n in (1, 2, 3, 3)],
            r"1 items are answered twice: item '3' at .*entry 4, before at .*entry 3",
        ),
        (
            [{"id": n, "response": "a"} for n in (1, 2, 3, 99)],
            r"1 answers belong to no item.*entry 4 \(no item with id '99'\)",
        ),
        ([{"id": n, "response": "a"} for n in range(100, 120)], r"20 answers belong to no item .* and 15 more"),
    ],
)
def test_missing_doubled_and_unknown_items_are_named(tmp_path, rows, problem):
    with pytest.raises(DataError, match=problem):
        import_responses(write(tmp_path / "a.json", rows), NUMBERED)


def test_missing_items_are_allowed_on_request(tmp_path):
    path = write(tmp_path / "a.json", [{"id": 3, "response": ""}])
    (response,) = import_responses(path, NUMBERED, partial=True)
    assert (response.prompt_id, response.text) == ("3", "")


@pytest.mark.parametrize("text", ["Failed to obtain answer via API.", "", "  ", None])
def test_what_a_tool_writes_for_a_failed_generation_is_a_failure_not_a_response(tmp_path, text):
    row = {"index": 1, "question": "Is there a thing 1?", "prediction": text}
    (response,) = import_responses(write(tmp_path / "a.json", [row]), NUMBERED, partial=True)
    assert response.text is None
    row = {"doc_id": 0, "filtered_resps": [text], "input": "Is there a thing 1?"}
    (response,) = import_responses(write(tmp_path / "b.jsonl", [row]), NUMBERED, partial=True)
    assert response.text is None


def test_inspect_epochs_are_samples_and_errors_failures(tmp_path):
    rows = [sample("1", "a"), sample("1", "b", epoch=2), sample("2", "", error={"message": "out of memory"})]
    rows = [row | {"input": "?"} for row in rows]
    items = [Item(str(n), "?", None, {}) for n in (1, 2)]
    found = import_responses(write(tmp_path / "a.eval", inspect_log(rows)), items)
    assert [(r.prompt_id, r.sample, r.text) for r in found] == [("1", 0, "a"), ("1", 1, "b"), ("2", 0, None)]
    assert "out of memory" in str(found[2].failure)


def test_a_log_written_by_inspect_itself_is_read():
    """The file: `inspect log dump` (0.3.285) of a mock model's run, 3 samples x 2 epochs, events left out."""
    path = Path(__file__).parents[2] / "data" / "inspect_log_dump.json"
    found = import_responses(path, NUMBERED)
    assert [(r.prompt_id, r.sample) for r in found] == [(str(n), epoch) for n in (1, 2, 3) for epoch in (0, 1)]
    assert [str(r.text).split("long")[0].strip() for r in found] == [f"answer {n}" for n in (0, 3, 1, 4, 2, 5)]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".xlsx", ".json"])
def test_tables_written_by_pandas_are_read(tmp_path, suffix):
    pandas = pytest.importorskip("pandas")
    texts = ['He said "no",\nthen\tleft.', "Schöne Grüße 猫", "Yes"]
    table = pandas.DataFrame({"index": [3, 1, 2], "question": [f"Is there a thing {n}?" for n in (3, 1, 2)]})
    table["prediction"] = texts
    path = tmp_path / f"model_dataset{suffix}"
    if suffix == ".xlsx":
        table.to_excel(path, index=False)
    elif suffix == ".json":
        table.to_json(path, orient="records", force_ascii=False, indent=4)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    found = import_responses(path, NUMBERED)
    assert [(r.prompt_id, r.text) for r in found] == [("1", texts[1]), ("2", texts[2]), ("3", texts[0])]


def test_the_question_of_an_inspect_sample_may_be_chat_messages():
    parts = [{"type": "image", "image": "attachment://1"}, {"type": "text", "text": "Is there a thing 2?"}]
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    answer = FORMATS[0].read(_row(sample("other", "a") | {"input": turns}))
    assert ItemIndex(NUMBERED).find(answer, "")[0] == {"2"}


def test_a_run_directory_is_read_by_its_journal(tmp_path):
    write(
        tmp_path / "responses.jsonl",
        [{"id": "1", "sample": 1, "text": "a"}, {"id": "2", "sample": 0, "failure": "cut"}],
    )
    found = import_responses(tmp_path, NUMBERED, partial=True)
    assert [(r.prompt_id, r.sample, r.text, r.failure) for r in found] == [("1", 1, "a", None), ("2", 0, None, "cut")]


@pytest.mark.parametrize(
    ("one", "other"),
    [("<image>\nIs  there?", "is there?"), ("<ImageHere> What ", "what")],
)
def test_questions_are_compared_without_image_marks_case_and_spacing(one, other):
    assert plain_question(one) == plain_question(other)


def zstd_log() -> bytes:
    data = bytearray(inspect_log([sample("1", "a")], zipfile.ZIP_STORED))
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = data.index(b"samples/") - (30 if mark == b"PK\x03\x04" else 0)
        start = data.rindex(mark) if mark == b"PK\x01\x02" else start
        data[start + offset] = 93
    return bytes(data)


ROW = '{"id": 1, "response": "a"}\n'
DEEP = "[" * 200_000 + "]" * 200_000
MALFORMED = {
    # lines
    "torn jsonl": ("a.jsonl", ROW + '{"id": 2, "resp', "a.jsonl:2"),
    "torn first": ("a.jsonl", '{"id"', "a.jsonl:1"),
    "binary": ("a.jsonl", bytes(range(128, 200)), "a.jsonl:1: not UTF-8"),
    "utf-16": ("a.jsonl", ROW.encode("utf-16"), "a.jsonl:1: not UTF-8"),
    "latin-1 in line 2": (
        "a.jsonl",
        ROW.encode() + '{"id": 2, "response": "é"}'.encode("latin-1"),
        "a.jsonl:2: not UTF-8",
    ),
    "nan": ("a.jsonl", ROW + '{"id": NaN, "response": "a"}', "a.jsonl:2: no field 'id'"),
    "infinity": ("a.jsonl", '{"id": 1, "response": -Infinity}', "a.jsonl:1: -Infinity is not JSON"),
    "list line": ("a.jsonl", ROW + "[1, 2]", "a.jsonl:2: expected an object"),
    "text line": ("a.jsonl", ROW + '"hello"', "a.jsonl:2: expected an object"),
    "null line": ("a.jsonl", ROW + "null", "a.jsonl:2: expected an object"),
    "deep line": ("a.jsonl", ROW + DEEP, "a.jsonl:2: nested too deeply"),
    "huge number": ("a.jsonl", ROW + '{"id": ' + "9" * 5000 + ', "response": "a"}', "a.jsonl:2: not JSON"),
    "two objects": ("a.jsonl", '{"id": 1, "response": "a"} {"id": 2, "response": "b"}', "a.jsonl:1: not JSON"),
    "empty": ("a.jsonl", "", "a.jsonl: holds no rows"),
    "blank": ("a.jsonl", "\n \n", "a.jsonl: holds no rows"),
    "id is a list": ("a.jsonl", '{"id": [1], "response": "a"}', "a.jsonl:1: 'id' must be"),
    "id is true": ("a.jsonl", '{"id": true, "response": "a"}', "a.jsonl:1: 'id' must be"),
    "id is a fraction": ("a.jsonl", '{"id": 1.5, "response": "a"}', "a.jsonl:1: 'id' must be"),
    "id is null": ("a.jsonl", '{"id": null, "response": "a"}', "a.jsonl:1: no field 'id'"),
    "id is empty": ("a.jsonl", '{"id": "", "response": "a"}', "a.jsonl:1: no field 'id'"),
    "response is a number": ("a.jsonl", ROW + '{"id": 2, "response": 5}', "a.jsonl:2: the response must be a text"),
    "response is a list": ("a.jsonl", '{"id": 2, "response": ["a"]}', "a.jsonl:1: the response must be a text"),
    "second row lacks the id": ("a.jsonl", ROW + '{"response": "b"}', "a.jsonl:2: no field 'id'"),
    "another format": (
        "a.jsonl",
        '{"name": "x", "value": 3}',
        "a.jsonl:1: no known format has the fields 'name', 'value'",
    ),
    "sample is a text": ("a.jsonl", '{"id": 1, "text": "a", "sample": "x"}', "a.jsonl:1: 'sample' must be"),
    "sample is negative": ("a.jsonl", '{"id": 1, "text": "a", "sample": -1}', "a.jsonl:1: 'sample' must be"),
    "caption is a number": ("a.jsonl", '{"image_id": 1, "caption": 3}', "a.jsonl:1: the response must be a text"),
    "image_id is an object": ("a.jsonl", '{"image_id": {}, "caption": "a"}', "a.jsonl:1: 'image_id' must be"),
    "question_id is a list": ("a.jsonl", '{"question_id": [], "text": "a"}', "a.jsonl:1: 'question_id' must be"),
    "pope answer is true": ("a.jsonl", '{"question_id": 1, "answer": true}', "a.jsonl:1: the response must be a text"),
    "pope question is a number": ("a.jsonl", '{"question": 4.5, "answer": "no"}', "a.jsonl:1: 'question' must be"),
    "halbench answer is a list": ("a.jsonl", '{"answer": [], "image_id": 1}', "a.jsonl:1: the response must be a text"),
    "halbench metainfos is a text": ("a.jsonl", '{"answer": "a", "metainfos": "x"}', "a.jsonl:1: no field 'image_id'"),
    "mmhal answer is an object": (
        "a.json",
        '[{"image_id": "a", "question": "q", "model_answer": {}}]',
        "a.json: entry 1",
    ),
    "lmms without keys": ("a.jsonl", '{"doc_id": 1, "resps": ["a"]}', "a.jsonl:1: no field identifies the item"),
    "lmms two responses": ("a.jsonl", '{"resps": ["a", "b"], "input": "q"}', "a.jsonl:1: the response must be a text"),
    "lmms number": ("a.jsonl", '{"resps": {"a": 1}, "input": "q"}', "a.jsonl:1: the response must be a text"),
    # json
    "torn json": ("a.json", '[{"id": 1,\n "response": "a"},\n {"id"', "a.json:3: not JSON"),
    "empty json": ("a.json", "", "a.json:1: not JSON"),
    "json number": ("a.json", "7", "a.json:1: expected a list"),
    "json object": ("a.json", '{"a": 1,\n "b": 2}', "a.json:1: no known format has the fields 'a', 'b'"),
    "empty list": ("a.json", "[]", "a.json: holds no rows"),
    "json of numbers": ("a.json", "[1, 2]", "a.json: entry 1: expected an object"),
    "deep json": ("a.json", DEEP, "a.json: nested too deeply"),
    "json in latin-1": ("a.json", '[\n"é"]'.encode("latin-1"), "a.json:2: not UTF-8"),
    "original with a list inside": ("a.json", '{"imgToEval": {"1": [2]}}', "a.json: entry 1: expected an object"),
    "json bom utf-16": ("a.json", "[]".encode("utf-16"), "a.json:1: not UTF-8"),
    # tables
    "csv no header": ("a.csv", "", "a.csv: holds no rows"),
    "csv doubled column": ("a.csv", "id,id\n1,2\n", "a.csv:1: the header"),
    "csv nameless column": ("a.csv", "id,,response\n1,2,a\n", "a.csv:1: the header"),
    "csv too many cells": ("a.csv", "id,response\n1,a\n2,b,c\n", "a.csv:3: more cells"),
    "csv too few cells": ("a.csv", "id,response\n1,a\n2\n", "a.csv:3: fewer cells"),
    "csv open quote": ("a.csv", 'id,response\n1,a\n2,"b\n', "a.csv:3: not a table"),
    "csv header only": ("a.csv", "id,response\n", "a.csv: holds no rows"),
    "csv other columns": ("a.csv", "a,b\n1,2\n", "a.csv:2: no known format"),
    "csv empty id": ("a.csv", "id,response\n,a\n", "a.csv:2: no field 'id'"),
    "csv latin-1": ("a.csv", "id,response\n1,a\n2,é\n".encode("latin-1"), "a.csv:3: not UTF-8"),
    "csv nul": ("a.csv", "id,response\n1,a\x00\n", "a.csv:2: not UTF-8 text .holds NUL"),
    "tsv with commas": ("a.tsv", "index,question,prediction\n1,q,a\n", "a.tsv:2: no known format"),
    "tsv torn": ("a.tsv", "index\tquestion\tprediction\n1\tq\ta\n2\tq", "a.tsv:3: fewer cells"),
    "tsv empty index": ("a.tsv", "index\tquestion\tprediction\n\tq\ta\n", "a.tsv:2 .no item with question 'q'"),
    "xlsx is text": ("a.xlsx", "index,question", "a.xlsx: not a zip archive"),
    "xlsx torn": ("a.xlsx", lambda: excel([("index",), (1,)])[:300], "a.xlsx: not a zip archive"),
    "xlsx other zip": ("a.xlsx", lambda: inspect_log([]), "a.xlsx: not an Excel table"),
    "xlsx empty": ("a.xlsx", lambda: excel([]), "a.xlsx: holds no rows"),
    "xlsx header only": ("a.xlsx", lambda: excel([("index", "question", "prediction")]), "a.xlsx: holds no rows"),
    "xlsx doubled column": ("a.xlsx", lambda: excel([("a", "a"), (1, 2)]), "a.xlsx:1: the header"),
    "xlsx id is a fraction": (
        "a.xlsx",
        lambda: excel([("index", "question", "prediction"), (1.5, "q", "a")]),
        "a.xlsx:2 .no item with question 'q'",
    ),
    "xlsx other columns": ("a.xlsx", lambda: excel([("a", "b"), (1, 2)]), "a.xlsx:2: no known format"),
    # inspect
    "eval is text": ("a.eval", "hello", "a.eval: not a zip archive"),
    "eval torn": ("a.eval", inspect_log([sample("1", "a")])[:200], "a.eval: not a zip archive"),
    "eval empty": ("a.eval", inspect_log([]), "a.eval: holds no rows"),
    "eval zstd": ("a.eval", zstd_log(), "zstd.*inspect log dump"),
    "eval no id": ("a.eval", inspect_log([{"epoch": 1, "output": {}, "id": None}]), "no field 'id'"),
    "eval epoch 0": ("a.eval", inspect_log([sample("1", "a") | {"epoch": 0}]), "'epoch' must be"),
    "eval epoch text": ("a.eval", inspect_log([sample("1", "a") | {"epoch": "x"}]), "'epoch' must be"),
    "utf-16 without mark": ("a.csv", "id,response\n1,a\n".encode("utf-16-le"), "a.csv:1: not UTF-8 text .holds NUL"),
    # files
    "parquet is text": ("a.parquet", "x", "a.parquet: cannot be read as Parquet"),
    "unknown suffix": ("a.pickle", "x", r"a.pickle: unknown kind of file '.pickle'"),
    "no suffix": ("a", "x", "unknown kind of file ''"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_input_is_one_clear_error_with_file_and_line(tmp_path, name):
    file, content, problem = MALFORMED[name]
    content = content() if callable(content) else content
    path = tmp_path / file
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=problem.replace(".json", r"\.json")) as caught:
        import_responses(path, NUMBERED, partial=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_a_huge_line_is_refused_before_it_is_read(tmp_path, monkeypatch):
    from evalkit.files import rows

    monkeypatch.setattr(rows, "LONGEST_LINE", 1000)
    path = write(tmp_path / "a.jsonl", [{"id": 1, "response": "a"}, {"id": 2, "response": "b" * 2000}])
    with pytest.raises(DataError, match=r"a\.jsonl:2: line is longer than 1,000 bytes"):
        read_answers(path)


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    from evalkit.files import rows

    monkeypatch.setattr(rows, "LARGEST_UNPACKED", 1000)
    path = write(tmp_path / "a.eval", inspect_log([sample("1", "a" * 5000)]))
    with pytest.raises(DataError, match="would unpack to"):
        read_answers(path)


def test_missing_files_and_unknown_formats_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_answers(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"responses\.jsonl: no such file"):
        read_answers(tmp_path)
    path = write(tmp_path / "a.json", [{"id": 1, "response": "a"}])
    with pytest.raises(DataError, match="unknown format 'x'; known: inspect, "):
        read_answers(path, "x")


def record(of: Item, text: str | None):
    image = {"folder": "images", "name": of.image.name} if of.image else None
    return {
        "id": of.id,
        "sample": 0,
        "question": of.question,
        "prompt": of.question,
        "image": image,
        "reference": dict(of.reference),
        "response": {"text": text, "failure": None if text is not None else "cut"},
    }


TEXTS = ['He said "no", then\nleft.', "", "Schöne Grüße 猫, <b>"]


@pytest.mark.parametrize(
    ("format_name", "items"),
    [
        ("responses", NUMBERED),
        ("captions", CAPTIONED),
        ("image-answers", CAPTIONED),
        ("llava", NUMBERED),
        ("plain", NUMBERED),
        ("csv", NUMBERED),
        ("question-answers", POLLED[:3]),
        ("filled-template", RECORDS),
    ],
)
def test_what_is_exported_is_imported_unchanged(tmp_path, format_name, items):
    template = write(
        tmp_path / "template.json",
        [
            {"image_id": i.reference.get("image_id"), "question": i.question, "model_answer": ""}
            for i in reversed(items)
        ],
    )
    suffix = EXPORTS[format_name].suffix if format_name in EXPORTS else ".json"
    rows = [record(*pair) for pair in zip(items, TEXTS, strict=True)]
    paths = export_records(rows, format_name, tmp_path / f"out{suffix}", model="m", template=template)
    found = import_responses(paths, items)
    assert [(r.prompt_id, r.text) for r in found] == [(i.id, text) for i, text in zip(items, TEXTS, strict=True)]


def test_one_of_several_responses_is_exported_only_if_it_is_chosen(tmp_path):
    more = {"score": {"counts": {}}}
    rows = [record(CAPTIONED[0], text) | more | {"sample": sample} for sample, text in enumerate(("A dog.", "A cat."))]
    manifest = {"schema": SCHEMA, "label": "m", "benchmark": "chair", "metrics": []}
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match="responses 0 to 1 per item: choose one with --sample"):
        export_run(tmp_path, "captions", tmp_path / "out.jsonl")
    (path,) = export_run(tmp_path, "captions", tmp_path / "out.jsonl", sample=1)
    assert [json.loads(line)["caption"] for line in path.read_text().splitlines()] == ["A cat."]


def test_parts_are_exported_to_a_file_each(tmp_path):
    rows = [record(i, "yes") for i in POLLED]
    paths = export_records(rows, "question-answers", tmp_path / "answers.jsonl")
    assert [path.name for path in paths] == ["answers_random.jsonl", "answers_popular.jsonl"]
    assert len(import_responses(paths, POLLED)) == len(POLLED)


@pytest.mark.parametrize(
    ("format_name", "allowed"), [("responses", True), ("captions", True), ("question-answers", False)]
)
def test_failed_responses_are_refused_and_left_out_only_where_order_does_not_matter(tmp_path, format_name, allowed):
    items = {"responses": NUMBERED, "captions": CAPTIONED, "question-answers": POLLED[:3]}[format_name]
    rows = [record(i, None if n == 1 else "a") for n, i in enumerate(items)]
    with pytest.raises(DataError, match="1 responses failed"):
        export_records(rows, format_name, tmp_path / "out.json")
    if allowed:
        (path,) = export_records(rows, format_name, tmp_path / "out.json", omit_failures=True)
        assert path.read_text().count(EXPORTS[format_name].row(rows[0]).keys() and '"a"') == 2
    else:
        with pytest.raises(DataError, match="goes by position"):
            export_records(rows, format_name, tmp_path / "out.json", omit_failures=True)


def test_several_questions_about_one_image_are_no_captions(tmp_path):
    numbered = {"random/1": 25, "popular/1": 9, "popular/2": 9}  # the first part alone would fit
    rows = [record(item(name, "Is there a dog?", f"COCO_val2014_{n:012d}.jpg"), "yes") for name, n in numbered.items()]
    with pytest.raises(DataError, match="does not fit format 'captions', which has one row per key: image_id 9 has 2"):
        export_records(rows, "captions", tmp_path / "out.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_template_with_other_questions_is_refused(tmp_path):
    template = write(tmp_path / "t.json", [{"image_id": "zz", "question": "?", "model_answer": ""}])
    with pytest.raises(DataError, match=r"t\.json: entry 1: no response for image 'zz'"):
        export_records([record(RECORDS[0], "a")], "filled-template", tmp_path / "out.json", template=template)


def test_an_item_without_a_number_cannot_be_exported_as_one(tmp_path):
    with pytest.raises(DataError, match="item 'x': the format needs whole numbers"):
        export_records([record(item("x"), "a")], "responses", tmp_path / "out.json")


def test_the_authors_files_round_trip(tmp_path, golden):
    for path in [
        golden / "amber" / "gen_responses.json",
        *sorted((golden / "chair" / "opera_captions").glob("*.jsonl")),
    ]:
        answers = read_answers(path)
        items = [item(answer.keys[0][1]) for answer in answers]
        format_name = "responses" if path.suffix == ".json" else "captions"
        rows = [record(i, answer.text) for i, answer in zip(items, answers, strict=True)]
        (written,) = export_records(rows, format_name, tmp_path / f"out{path.suffix}")
        assert _rows(written) == _rows(path)


def _rows(path: Path):
    text = path.read_text("utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
