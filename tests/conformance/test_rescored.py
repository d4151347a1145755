"""Released files of other groups, read as they were released, give their figures: ten of the rows of docs/rescored.md.

One per layout: captions with list-valued prompts, JSON objects one after the other, a chair.py output, answers whose
counter is an image's number elsewhere, three POPE splits in one file, questions with a typo, ids of another data set.
"""

from pathlib import Path

import pytest

from tests.rescored.rows import Entry, build_row, compared, entries

REGRESSIONS = {
    2: "list-valued prompts beside image ids",
    7: "JSON objects over several lines, one after the other",
    17: "the output of HALC's scorer",
    62: "a counter that is an image's number elsewhere",
    64: "image names without a counter",
    75: "chair.py's output named .jsonl",
    80: "three splits in one file, told by their ids",
    84: "questions that say imange",
    114: "AMBER's descriptions with paths of images",
    119: "ids of the data set beside images of Object HalBench",
}
# what is not equal, and is explained by other reference objects: ours minus theirs
EXPLAINED = {
    62: {"published": "chair_s +0.4, chair_i +0.2, recall +0.1"},
    64: {"published": "chair_s +0.4, chair_i +0.2, recall +0.1"},
    119: {"script": "chair_s +0.33, chair_i +0.23"},
}


@pytest.fixture(scope="module")
def released(assets: Path) -> Path:
    if not (assets / "released").is_dir():
        pytest.skip("the released files are absent (EVALKIT_ASSETS/released)")
    return assets


def rows_of(number: int) -> list[Entry]:
    return [entry for entry in entries()[0] if entry.number == number]


@pytest.mark.usefixtures("nltk_data")
@pytest.mark.parametrize("number", REGRESSIONS, ids=list(REGRESSIONS.values()))
def test_a_released_file_gives_its_figures(number, released, tmp_path):
    for entry in rows_of(number):
        row = build_row(entry, tmp_path)
        assert row.problem is None
        printed = {"published": entry.published, "script": row.authors}
        found = {
            whose: compared(figures, row.ours, entry.group.metrics) for whose, figures in printed.items() if figures
        }
        assert found
        assert found == dict.fromkeys(found, "=") | EXPLAINED.get(number, {})
        assert all(value.low <= value.value <= value.high for value in row.ours)
