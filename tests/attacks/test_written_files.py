"""Files that exist are replaced as a whole or not touched; tables of model output run nothing and are read back."""

import csv
import io
import json
from pathlib import Path

import pytest

from evalkit.runs.records import MANIFEST, RECORDS
from tests.attacks.attacked import chair_run, change, program

resource = pytest.importorskip("resource")
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


@pytest.mark.parametrize(
    ("words", "room"),
    [
        (("export", "{run}", "--format", "chair", "--output", "{out}"), 200),
        (("export", "{run}", "--format", "csv", "--output", "{out}"), 200),
        (("report", "{runs}", "--html", "{out}"), 10_000),
        (("report", "{runs}", "--output", "{out}"), 300),
        (("report", "{runs}", "--format", "json", "--output", "{out}"), 300),
        (("compare", "{run}", "{other}", "--output", "{out}"), 300),
    ],
    ids=lambda value: " ".join(value).replace("{", "").replace("}", "") if isinstance(value, tuple) else "",
)
def test_on_a_full_disk_the_earlier_file_stays(folder: Path, words: tuple[str, ...], room: int) -> None:
    places = {"run": chair_run(folder, scenes=12), "other": chair_run(folder, "other", ("A dog.",))}
    places |= {"runs": folder / "runs", "out": folder / "o"}
    places["out"].write_text("earlier\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        done = program(*(word.format(**places) for word in words))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code != 0
    assert str(places["out"]) in done.err
    assert places["out"].read_text() == "earlier\n"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".o")] == []


def test_texts_with_any_line_end_come_back_from_csv(folder: Path) -> None:
    texts = ("A dog.\rA cat.", 'A "dog", a cat.', "A dog.\r\nA cat.", "A dog.\n\nA cat.", " A dog. ", "'=1", "''-2")
    run = chair_run(folder, texts=texts, scenes=len(texts))
    assert program("export", run, "--format", "csv", "--output", folder / "e.csv").code == 0
    words = ["--responses", folder / "e.csv", "--world", folder / "world", "--label", "back"]
    done = program("score", "chair", *words, "--output-path", folder / "runs")
    assert done.code == 0, done.err

    def said(path: Path) -> list[str]:
        return [json.loads(line)["response"]["text"] for line in (path / RECORDS).read_text().splitlines()]

    assert said(folder / "runs" / "back" / "chair") == said(run)


def test_no_cell_of_a_table_begins_as_a_formula(folder: Path) -> None:
    texts = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1+1", "\n=1+1", "\r=1+1")
    run = chair_run(folder, texts=texts, scenes=len(texts))
    program("export", run, "--format", "csv", "--output", folder / "e.csv")
    with (folder / "e.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells if cell[:1] in FORMULA_SIGNS and len(cell) > 1] == []
    program("export", run, "--format", "csv", "--keep-formulas", "--output", folder / "kept.csv")
    assert texts[0] in (folder / "kept.csv").read_text()


@pytest.mark.parametrize("label", ["=1+1", "\t=1+1", "\n=1+1", "a\rb", 'a"b,c'])
def test_a_label_breaks_no_row_of_a_report_and_starts_no_formula(folder: Path, label: str) -> None:
    run = chair_run(folder)
    change(run / MANIFEST, lambda manifest: manifest.update(label=label))
    done = program("report", folder / "runs", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    assert rows
    assert all(None not in row and None not in row.values() for row in rows)
    starts = [cell for row in rows for cell in row.values() if cell[:1] in FORMULA_SIGNS and not cell[1:2].isdigit()]
    assert starts == []
