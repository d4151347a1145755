"""Fronts of released captions: figures computed by hand, and cut files scored one by one.

The figures by hand split sentences at blanks behind `.`, `!` or `?`; here a quote or bracket that closes there belongs
to the sentence, and a number alone is none. On OPERA's captions of LLaVA-1.5 the two agree in every cut; on those of
InstructBLIP, which contain lists, they differ by up to 0.2.
"""

import json
from pathlib import Path

import pytest

from benchmarks.chair import CHAIR
from evalkit.analysis.front_file import read_fronts
from evalkit.analysis.standing import Placed, place
from evalkit.harness.stages import score
from evalkit.harness.stored import import_run
from evalkit.runs.run import Run, load_run
from evalkit.text.cuts import cut_text, sentence_ends, word_ends

# first k sentences of the greedy captions -> recall, chair_s
BY_HAND = {
    "llava-1.5": {5: (78.9, 43.0), 6: (80.1, 43.8)},
    "instructblip": {3: (65.2, 48.0)},
}
SPLITTERS = {"llava-1.5": 0.05, "instructblip": 0.2}  # by how much the two rules may differ


@pytest.fixture(scope="module")
def scored(golden: Path, assets: Path, tmp_path_factory: pytest.TempPathFactory):
    """Scores a file of OPERA's captions once."""
    folder = tmp_path_factory.mktemp("runs")
    known: dict[str, Run] = {}

    def run(name: str) -> Run:
        if name not in known:
            benchmark = CHAIR(references=assets / "chair" / "coco_gt_objects.json")
            path = golden / "chair" / "opera_captions" / f"{name}.jsonl"
            work = import_run(benchmark, [path], folder / name / "chair", name)
            score(work, folder / name / "chair")
            known[name] = load_run(folder / name / "chair")
        return known[name]

    return run


def beside_greedy(scored, model: str, method: str) -> Placed:
    base = scored(f"{model}.greedy")
    (placed,) = place(read_fronts(base)[0], "greedy", {method: scored(f"{model}.{method}")})
    return placed


@pytest.mark.parametrize("model", BY_HAND)
def test_the_first_sentences_hallucinate_as_counted_by_hand(scored, model: str) -> None:
    (front,) = read_fronts(scored(f"{model}.greedy"))
    for cut, (recall, chair_s) in BY_HAND[model].items():
        point = front.points["sentences"][cut]
        assert point["recall"].value == pytest.approx(recall, abs=SPLITTERS[model] + 0.05)
        assert point["chair_s"].value == pytest.approx(chair_s, abs=SPLITTERS[model] + 0.05)


def test_opera_is_no_better_than_llava_that_stops_a_sentence_earlier(scored) -> None:
    placed = beside_greedy(scored, "llava-1.5", "ours")
    first = placed.headline.positions[0]
    assert (round(first.other, 1), round(first.level, 1)) == (44.6, 79.5)
    assert placed.headline.verdict == "on"
    assert 43.0 < first.base < 43.8


def test_opera_has_more_recall_than_instructblip_ever_has_and_hallucinates_less(scored) -> None:
    placed = beside_greedy(scored, "instructblip", "ours")
    first = placed.headline.positions[0]
    assert (round(first.other, 1), round(first.level, 1)) == (46.4, 73.2)
    assert placed.headline.verdict == "outside"
    assert first.difference.high < -5


@pytest.mark.parametrize(
    ("ends_of", "name", "cuts"), [(sentence_ends, "sentences", (1, 4)), (word_ends, "words", (25, 70))]
)
def test_a_cut_is_what_a_file_of_cut_captions_scores(
    scored, golden: Path, assets: Path, tmp_path: Path, ends_of, name: str, cuts: tuple[int, int]
) -> None:
    (front,) = read_fronts(scored("llava-1.5.greedy"))
    curve = next(curve for curve in front.curves if curve.name == name)
    lines = (golden / "chair" / "opera_captions" / "llava-1.5.greedy.jsonl").read_text().splitlines()
    for cut in cuts:
        path = tmp_path / f"first{cut}.jsonl"
        rows = [json.loads(line) for line in lines]
        short = [row | {"caption": cut_text(row["caption"], ends_of(row["caption"]), cut)} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in short))
        benchmark = CHAIR(references=assets / "chair" / "coco_gt_objects.json")
        score(import_run(benchmark, [path], tmp_path / str(cut), "cut"), tmp_path / str(cut))
        counts = load_run(tmp_path / str(cut)).item_counts(front.names)
        for (item, _), row in zip(front.keys, curve.counts[:, curve.cuts.index(cut)], strict=True):
            assert row.tolist() == counts[item].tolist()
