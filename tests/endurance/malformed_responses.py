"""Malformed files of responses made elsewhere, in every format."""

from pathlib import Path
from typing import Any

from tests.endurance.spoils import (
    CHAIR,
    DEEP,
    DIGITS,
    Case,
    Spoil,
    bomb_png,
    doubled,
    encoded,
    folder,
    gone,
    line,
    link,
    put,
    row,
    zip_bomb,
    zipped,
)


def response_files() -> list[Case]:
    """Files of responses made elsewhere."""
    name = "captions.jsonl"
    at2 = (f"{name}:2",)
    broken_lines = {
        "a torn line": '{"image_id": 2, "capti',
        "a line that is a list": '[2, "A dog."]',
        "a line that is a number": "7",
        "a line that is null": "null",
        "a line that is a text": '"A dog."',
        "a line of two objects": '{"image_id": 2, "caption": "A"} {"image_id": 9, "caption": "B"}',
        "NaN": '{"image_id": NaN, "caption": "A dog."}',
        "Infinity": '{"image_id": 2, "caption": -Infinity}',
        "single quotes": "{'image_id': 2, 'caption': 'A dog.'}",
        "a trailing comma": '{"image_id": 2, "caption": "A dog.",}',
        "a control character": '{"image_id": 2, "caption": "A \x01 dog."}',
        "deep JSON": '{"image_id": 2, "caption": ' + DEEP,
        "deep objects": '{"a":' * 100_000,
        "a number of 5000 digits": '{"image_id": ' + DIGITS + ', "caption": "A dog."}',
        "HTML": "<html><body>502</body></html>",
    }
    fields: dict[str, dict[str, Any]] = {
        "a caption that is a number": {"caption": 7},
        "a caption that is true": {"caption": True},
        "a caption that is a list": {"caption": ["A dog."]},
        "a caption that is an object": {"caption": {"text": "A dog."}},
        "no image id": {"image_id": ...},
        "an image id that is null": {"image_id": None},
        "an image id that is a list of two": {"image_id": [2, 3]},
        "an image id that is true": {"image_id": True},
        "an image id that is a fraction": {"image_id": 2.5},
        "an empty image id": {"image_id": " "},
        "a negative image id": {"image_id": -2},
        "an unknown image id": {"image_id": 424242},
        "an image id that is too large": {"image_id": 10**300},
        "a negative sample": {"sample": -1},
        "a sample that is a word": {"sample": "first"},
        "a sample that is a negative text": {"sample": "-1"},
    }
    whole: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "no file": (gone(name), (name, "no such file")),
        "an empty file": (put(name, ""), (name, "no rows")),
        "a blank file": (put(name, "\n \n\n"), (name, "no rows")),
        "a folder": (folder(name), (name,)),
        "a link to itself": (link(name, name), (name,)),
        "UTF-16": (encoded(name, "utf-16"), (f"{name}:1", "UTF-8")),
        "latin-1": (encoded(name, "latin-1", '{"image_id": 9, "caption": "café"}\n'), (f"{name}:4", "UTF-8")),
        "NUL bytes": (put(name, b"\0" * 4096), (f"{name}:1",)),
        "a picture": (put(name, bomb_png(9, 9)), (f"{name}:1",)),
        "a line of 65 MB": (put(name, b'{"caption": "' + b"a" * (65 << 20)), (f"{name}:1",)),
        "an item twice": (doubled(name, 2), ("answered twice", "'2'", f"{name}:4", f"{name}:2")),
        "a missing item": (line(name, 3, ""), (name, "1 of 3 items have no answer", "3")),
        "unknown fields": (put(name, '{"picture": 1, "said": "A dog."}\n'), (f"{name}:1", "no known format")),
        "answers of another benchmark": (
            lambda: Path(name).write_bytes(Path("pope.jsonl").read_bytes()),
            (name, "belong to no item"),
        ),
    }
    return [
        *(Case(f"captions: {what}", CHAIR, at2, line(name, 2, text)) for what, text in broken_lines.items()),
        *(Case(f"captions: {what}", CHAIR, at2, row(name, 2, **change)) for what, change in fields.items()),
        *(Case(f"captions: {what}", CHAIR, says, spoil) for what, (spoil, says) in whole.items()),
    ]


def _elsewhere(suffix: str) -> str:
    return f"score chair --responses given{suffix} --world world"


def response_formats() -> list[Case]:
    """The other formats of responses, one or more spoiled files of each."""
    table: list[tuple[str, str, str | bytes, tuple[str, ...]]] = [
        ("unknown suffix", ".txt", "1 A dog.", ("given.txt", "unknown kind of file")),
        ("no suffix", "", "1 A dog.", ("given", "unknown kind of file")),
        ("JSON: torn", ".json", '[{"image_id": 1, "caption": "A"},\n{"image_', ("given.json:2", "cut off")),
        ("JSON: a number", ".json", "5", ("given.json:1",)),
        ("JSON: an empty list", ".json", "[]", ("given.json", "no rows")),
        ("JSON: a list of texts", ".json", '["A dog."]', ("given.json: entry 1",)),
        ("JSON: another object", ".json", '{"model": {"a": 1}}', ("given.json:1",)),
        ("JSON: deep", ".json", DEEP, ("given.json", "deep")),
        (
            "JSON: NaN",
            ".json",
            '[{"image_id": NaN, "caption": "A"}]',
            ("given.json: entry 1: no field 'image_id'",),
        ),
        ("JSON: Infinity", ".json", '[{"image_id": Infinity, "caption": "A"}]', ("given.json", "Infinity")),
        ("caption evaluation: rows of another kind", ".json", '{"imgToEval": {"1": 5}}', ("given.json: entry 1",)),
        ("CSV: no rows", ".csv", "image_id,caption\n", ("given.csv", "no rows")),
        ("CSV: no header", ".csv", "", ("given.csv",)),
        ("CSV: a column twice", ".csv", "image_id,image_id\n1,A\n", ("given.csv:1",)),
        ("CSV: too many cells", ".csv", "image_id,caption\n1,A,B\n", ("given.csv:2",)),
        ("CSV: too few cells", ".csv", "image_id,caption\n1,A\n2\n", ("given.csv:3",)),
        ("CSV: an open quote", ".csv", 'image_id,caption\n1,"A dog', ("given.csv:2",)),
        ("CSV: latin-1", ".csv", b"image_id,caption\n1,caf\xe9\n", ("given.csv:2",)),
        ("TSV: commas", ".tsv", "image_id,caption\n1,A dog.\n", ("given.tsv:2",)),
        ("VLMEvalKit: no index", ".tsv", "index\tquestion\tprediction\n\tQ\tA\n", ("given.tsv:2",)),
        ("VLMEvalKit: unknown index", ".tsv", "index\tquestion\tprediction\n77\tQ\tA\n", ("given.tsv:2", "'77'")),
        ("Excel: not a zip archive", ".xlsx", "image_id,caption", ("given.xlsx", "zip")),
        ("Excel: another zip archive", ".xlsx", zipped(a="b"), ("given.xlsx", "Excel")),
        ("Excel: cut off", ".xlsx", zipped(a="b" * 5000)[:60], ("given.xlsx",)),
        ("inspect: not a zip archive", ".eval", "{}", ("given.eval", "zip")),
        ("inspect: no samples", ".eval", zipped(header_json="{}"), ("given.eval", "no rows")),
        ("inspect: torn sample", ".eval", zipped(samples__1_json='{"id": 1,'), ("given.eval", "samples/1.json")),
        ("inspect: a sample that is a list", ".eval", zipped(samples__1_json="[]"), ("given.eval", "samples/1.json")),
        ("inspect: no id", ".eval", zipped(samples__1_json='{"output": {}, "epoch": 1}'), ("given.eval",)),
        (
            "inspect: epoch 0",
            ".eval",
            zipped(samples__1_json='{"id": 1, "epoch": 0, "output": {"completion": "A"}}'),
            ("samples/1.json", "epoch"),
        ),
        (
            "inspect: a completion that is a list",
            ".eval",
            zipped(samples__1_json='{"id": 1, "epoch": 1, "output": {"completion": ["A"]}}'),
            ("samples/1.json", "text"),
        ),
        ("inspect: a bomb", ".eval", zip_bomb(), ("given.eval",)),
        ("lmms-eval: nothing but doc_id", ".jsonl", '{"doc_id": 0, "resps": [["A"]]}\n', ("given.jsonl:1", "doc_id")),
        (
            "lmms-eval: responses in a dictionary",
            ".jsonl",
            '{"question_id": 1, "resps": {"a": 1}}\n',
            ("given.jsonl:1", "text"),
        ),
        ("lmms-eval: an id that is a list", ".jsonl", '{"question_id": [], "resps": "A"}\n', ("given.jsonl:1",)),
        ("MMHal: no text", ".json", '[{"image_id": "1", "model_answer": [7]}]', ("given.json: entry 1",)),
        ("AMBER: no text", ".json", '[{"id": 1, "response": 5}]', ("given.json: entry 1",)),
        ("AMBER: id of another type", ".json", '[{"id": {}, "response": "A"}]', ("given.json: entry 1", "'id'")),
        ("Object HalBench: no text", ".jsonl", '{"image_id": 1, "answer": []}\n', ("given.jsonl:1",)),
        ("Object HalBench: no id", ".jsonl", '{"answer": "A", "metainfos": 5}\n', ("given.jsonl:1",)),
        ("LLaVA: no text", ".jsonl", '{"question_id": 1, "text": 1}\n', ("given.jsonl:1",)),
        ("POPE: no text", ".jsonl", '{"question_id": 1, "answer": {}}\n', ("given.jsonl:1",)),
        ("plain: no text", ".jsonl", '{"id": 1, "text": 0}\n', ("given.jsonl:1",)),
        ("plain: a failure that is a number", ".jsonl", '{"id": 1, "failure": 7}\n', ("given.jsonl:1",)),
    ]
    return [
        *(Case(f"responses, {what}", _elsewhere(suffix), says, put(f"given{suffix}", content))
          for what, suffix, content, says in table),
        Case("responses: unknown format", f"{CHAIR} --format parquet", ("'parquet'", "known:")),
        Case("responses: another format's name", f"{CHAIR} --format responses", ("captions.jsonl:1", "'response'")),
        Case("responses: another benchmark's format", f"{CHAIR} --format amber", ("'amber'", "known: ", "responses")),
        Case("responses: a run directory of another benchmark", _elsewhere("").replace("given", "runs/pope/pope"),
             ("runs/pope/pope", "belong to no item")),
        Case("responses: a folder without a journal", _elsewhere("").replace("given", "world"), ("no such file",)),
        Case("responses: two files that overlap", CHAIR.replace("captions.jsonl", "captions.jsonl second.jsonl"),
             ("answered twice", "second.jsonl:1", "captions.jsonl:1")),
        Case("responses: settings of the earlier run differ", f"{CHAIR} --variant singularize",
             ("runs/captions/chair", "variant")),
        Case("responses: another file under the same label", f"{CHAIR.replace('captions', 'second')} --label captions",
             ("runs/captions/chair", "another model")),
    ]  # fmt: skip
