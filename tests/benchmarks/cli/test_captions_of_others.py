"""Three captions in every layout that was reported to be misread: one result, or failed responses, through the program.

The layouts are those of public reports: pandas' index column, `;` between cells, a trailing comma, an array named
.jsonl, {id: caption}, file names, metadata as JSON text, NaN, null, thoughts, floats for ids.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.runs.records import METRICS, read_json

CAPTIONS = {25: "A giraffe next to a man.", 30: "A vase with a plant on a chair.", 36: "A woman holds an umbrella."}
REFERENCES = {"25": ["giraffe", "person"], "30": ["potted plant", "vase"], "36": ["person", "umbrella"]}
WORDS = ("giraffe", "person, man, woman", "vase", "potted plant", "chair", "umbrella", "dog", "car")
RIGHT = {"chair_s": 33.3, "chair_i": 16.7, "recall": 83.3, "length": 7.3}
FAILED_SAMPLES = 2


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def cells(separator: str, *, index: bool = False, trailing: bool = False, bom: bool = False, ids: str = "{}") -> str:
    rows = [separator.join(["image_id", "caption"])]
    rows += [separator.join([ids.format(image), text]) for image, text in CAPTIONS.items()]
    if index:
        rows = [separator.join(["" if number == 0 else str(number - 1), row]) for number, row in enumerate(rows)]
    return ("\ufeff" if bom else "") + "".join(row + (separator if trailing else "") + "\n" for row in rows)


PLAIN = [{"image_id": image, "caption": text} for image, text in CAPTIONS.items()]
LAYOUTS = {
    "lines": ("a.jsonl", lines(PLAIN)),
    "an array in .jsonl": ("a.jsonl", json.dumps(PLAIN)),
    "objects over several lines": ("a.jsonl", "\n".join(json.dumps(row, indent=1) for row in PLAIN)),
    "a mapping": ("a.json", json.dumps({str(image): text for image, text in CAPTIONS.items()})),
    "file names": (
        "a.jsonl",
        lines([{"image": f"COCO_val2014_{image:012d}.jpg", "caption": text} for image, text in CAPTIONS.items()]),
    ),
    "prediction": ("a.jsonl", lines([{"image_id": image, "prediction": text} for image, text in CAPTIONS.items()])),
    "metainfos": (
        "a.jsonl",
        lines(
            [
                {"question": "Describe", "answer": text, "metainfos": json.dumps({"image_id": image})}
                for image, text in CAPTIONS.items()
            ]
        ),
    ),
    "thoughts": (
        "a.jsonl",
        lines([row | {"caption": f"<think>\nA dog or a car?\n</think>\n\n{row['caption']}"} for row in PLAIN]),
    ),
    "U+2028 in a text": ("a.jsonl", lines([row | {"note": "a\u2028b"} for row in PLAIN]).replace("\\u2028", "\u2028")),
    "a table": ("a.csv", cells(",")),
    "a byte order mark": ("a.csv", cells(",", bom=True)),
    "pandas' index": ("a.csv", cells(",", index=True)),
    "semicolons": ("a.csv", cells(";")),
    "a trailing comma": ("a.csv", cells(",", trailing=True)),
    "tabs": ("a.tsv", cells("\t")),
    "floats for ids": ("a.csv", cells(",", ids="{}.0")),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synonyms.txt").write_text("\n".join(WORDS) + "\n")
    (tmp_path / "references.json").write_text(json.dumps(REFERENCES))
    return tmp_path


def scored(here: Path, name: str, content: str, *more: str) -> tuple[int, dict[str, Any]]:
    (here / name).write_text(content)
    tables = ["--references", "references.json", "--set", "chair.synonyms=synonyms.txt"]
    where = ["--label", "given", "--output-path", "runs"]
    code = main(["score", "chair", "--responses", name, *tables, *where, *more])
    return code, read_json(here / "runs" / "given" / "chair" / METRICS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_figures(here: Path, layout: str) -> None:
    code, results = scored(here, *LAYOUTS[layout])
    assert code == 0
    assert (results["n_scored"], results["n_total"]) == (3, 3)
    assert {name: round(results["metrics"][name]["value"], 1) for name in RIGHT} == RIGHT


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", lines(PLAIN).replace(json.dumps(CAPTIONS[30]), "NaN")),
        ("a.jsonl", lines(PLAIN).replace(json.dumps(CAPTIONS[30]), "null")),
        ("a.csv", cells(",").replace(CAPTIONS[30], "")),
        ("a.csv", cells(";").replace(CAPTIONS[30], "   ")),
        ("a.csv", cells(",", index=True).replace(CAPTIONS[30], "nan")),
        ("a.jsonl", lines(PLAIN).replace(json.dumps(CAPTIONS[30]), '"<think>\\nA vase, I"')),
    ],
)
def test_a_missing_caption_is_a_failed_response_and_no_clean_one(here: Path, name: str, content: str) -> None:
    code, results = scored(here, name, content)
    assert code == FAILED_SAMPLES
    assert (results["n_scored"], results["n_total"]) == (2, 3)
    assert results["metrics"]["recall"]["value"] == 100.0
    assert results["metrics"]["chair_s"]["value"] == 0.0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.json", "[25.0, 36.0]"),
        ("ids.json", '["25", 36]'),
        ("ids.txt", "2.500000000000000000e+01\n3.600000000000000000e+01\n"),
        ("ids.txt", "25\n36\n"),
    ],
)
def test_ids_are_read_as_numbers_whatever_wrote_them(here: Path, name: str, content: str) -> None:
    (here / name).write_text(content)
    rows = [row for row in PLAIN if row["image_id"] != 30]
    code, results = scored(here, "a.jsonl", lines(rows), "--set", f"chair.image_ids={name}")
    assert (code, results["n_scored"], results["n_total"]) == (0, 2, 2)


@pytest.mark.parametrize("content", ["[25.5]", "2.55e+01\n", "[true]", "[null]", "[1e400]"])
def test_what_is_no_whole_number_is_no_id(here: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = "ids.json" if content[0] == "[" else "ids.txt"
    (here / name).write_text(content)
    (here / "a.jsonl").write_text(lines(PLAIN))
    tables = [
        "--references",
        "references.json",
        "--set",
        "chair.synonyms=synonyms.txt",
        "--set",
        f"chair.image_ids={name}",
    ]
    assert main(["score", "chair", "--responses", "a.jsonl", *tables, "--label", "given"]) not in (0, FAILED_SAMPLES)
    assert name in capsys.readouterr().err
