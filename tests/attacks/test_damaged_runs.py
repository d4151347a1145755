"""Run folders whose fields are of another type: every command that reads runs says so in one line, or copes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.miniature.files import write_world
from evalkit.runs.records import MANIFEST, METRICS, RECORDS

HUGE = 10**400
FIELDS: list[tuple[str, tuple[Any, ...], Any]] = [  # file, where in it, what is put there
    *((RECORDS, ("id",), value) for value in (None, 5, [1])),
    *((RECORDS, ("sample",), value) for value in ("a", None)),
    *((RECORDS, (name,), value) for name in ("question", "prompt", "cluster") for value in ({}, [1])),
    *((RECORDS, (name,), value) for name in ("groups", "reference", "verdict", "image") for value in ("x", [1])),
    *((RECORDS, ("response", name), 5) for name in ("text", "failure", "finish")),
    *((RECORDS, ("score", "findings"), value) for value in ("abc", [5], [{"start": 0, "end": 1}])),
    (RECORDS, ("score", "findings"), [{"start": float("inf"), "end": "y", "label": "hallucinated"}]),
    *((RECORDS, ("score", "counts", "words"), value) for value in (HUGE, -1, "x", None)),
    *((METRICS, ("groups",), value) for value in ([1], {"a": "b"}, {"a": {"b": {"n": 1}}})),
    *((METRICS, ("baselines",), value) for value in ("x", {"a": 5}, {"a": {"chair_s": "x"}})),
    *((METRICS, ("metrics", "chair_s", "value"), value) for value in ("x", HUGE, float("nan"), [])),
    (METRICS, ("metrics", "chair_s"), None),
    (METRICS, ("n_scored",), "many"),
    (MANIFEST, ("metrics", 0, "formula"), "+".join(["words"] * 5000)),
    (MANIFEST, ("metrics", 0, "formula"), "words" + "+(words" * 90 + ")" * 90),
    *((MANIFEST, ("metrics", 0, "formula"), f"words*{number}") for number in ("9" * 4000, "0x" + "f" * 4000, "1e999")),
    *((MANIFEST, ("metrics", 0, "formula"), formula) for formula in ("5", "words\ud800", "", None)),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CHAIR runs of the same images, without checksums, so that the fields themselves are looked at."""
    folder = tmp_path_factory.mktemp("damaged")
    write_world(folder / "world", 4, seed=1)
    ids = json.loads((folder / "world" / "image_ids.json").read_text())
    for label in ("a", "b"):
        rows = [{"image_id": name, "caption": f"A dog on a couch. {label}"} for name in ids]
        (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = f"--responses {folder}/said.jsonl --world {folder}/world --label {label} --output-path {folder}/runs"
        assert main(["score", "chair", *words.split()]) == 0
    return folder / "runs"


def _put(value: Any, where: tuple[Any, ...], new: Any) -> None:
    for step in where[:-1]:
        value = value[step]
    value[where[-1]] = new


def _damage(run: Path, name: str, where: tuple[Any, ...], new: Any) -> None:
    """Put something else into a file of the run, and take the checksums of all of them off."""
    for file in (MANIFEST, METRICS):
        content = json.loads((run / file).read_text())
        del content["made_from"]
        if file == name:
            _put(content, where, new)
        (run / file).write_text(json.dumps(content))
    rows = [json.loads(line) for line in (run / RECORDS).read_text().splitlines()]
    for row in rows:
        del row["sum"]
        if name == RECORDS:
            _put(row, where, new)
    (run / RECORDS).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(("name", "where", "new"), FIELDS, ids=range(len(FIELDS)))
def test_a_field_of_another_type_is_said_in_one_line(
    runs: Path, tmp_path: Path, name: str, where: tuple[Any, ...], new: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    both = Path(shutil.copytree(runs, tmp_path / "runs"))
    bad = both / "a" / "chair"
    _damage(bad, name, where, new)
    for words in (
        ["report", str(both), "--groups"],
        ["report", str(both), "--html", str(tmp_path / "page.html")],
        ["compare", str(bad), str(both / "b" / "chair"), "--force"],
        ["export", str(bad), "--format", "chair", "--output", str(tmp_path / "e.jsonl")],
        ["doctor", "--run", str(bad)],
    ):
        code = main(words)  # an error that is none of evalkit's own is raised here
        said = capsys.readouterr()
        assert code in (0, 1, 3)
        assert len(said.err.splitlines()) <= 3
        assert words[0] == "doctor" or " nan" not in said.out  # the doctor says what it found
