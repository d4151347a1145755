"""What the texts of preference pairs tell by themselves: planted cues are found, and none where there are none."""

import json
import random
from pathlib import Path

import pytest

from aligners.preference.artifacts import features, find_artifacts
from aligners.preference.pairs import Pair, read_pairs
from evalkit.__main__ import main
from evalkit.errors import DataError

NOUNS = [
    "man",
    "woman",
    "dog",
    "cat",
    "table",
    "chair",
    "tree",
    "car",
    "cup",
    "book",
    "lamp",
    "door",
    "street",
    "window",
    "bird",
    "boat",
]
VERBS = ["sits", "stands", "runs", "waits", "lies", "hangs"]
PLACES = ["near", "behind", "under", "beside", "above"]


def sentence(rng: random.Random) -> str:
    return f"A {rng.choice(NOUNS)} {rng.choice(VERBS)} {rng.choice(PLACES)} a {rng.choice(NOUNS)}."


def pair(rng: random.Random, number: int, kind: str) -> Pair:
    """Two descriptions alike in everything but the planted cue, which is there in two pairs of three."""
    chosen, rejected = ([sentence(rng) for _ in range(4)] for _ in range(2))
    if rng.random() < 2 / 3:
        if kind == "word":
            rejected[rng.randrange(4)] = f"There is clearly a {rng.choice(NOUNS)}."
            chosen[rng.randrange(4)] = f"There is a {rng.choice(NOUNS)}, it seems."
        elif kind == "position":  # the same sentence, early in one and late in the other
            chosen[0] = rejected[3] = "A sign hangs above a road."
        elif kind == "length":
            rejected.append(sentence(rng))
    return Pair(str(number), f"{number // 2}.jpg", "Describe the image.", " ".join(chosen), " ".join(rejected))


def pairs(kind: str, count: int = 300, seed: int = 0) -> list[Pair]:
    rng = random.Random(f"{kind} {seed}")
    return [pair(rng, number, kind) for number in range(count)]


@pytest.mark.parametrize(("kind", "cue"), [("word", "words"), ("position", "places"), ("length", "length")])
def test_a_planted_cue_is_found_and_named(kind: str, cue: str) -> None:
    found = find_artifacts(pairs(kind))
    assert found.found
    assert found.accuracy.value > 70
    assert found.by_cue[cue].value > 70
    telling = " ".join(telling.feature for telling in found.telling)
    assert {"word": "clearly", "position": "third: sign", "length": "length: "}[kind] in telling
    assert len(found.hard) < 0.35 * 300


def test_a_position_is_told_by_places_alone() -> None:
    found = find_artifacts(pairs("position"))
    assert found.by_cue["words"].value < 60
    assert found.by_cue["length"].value < 60
    assert found.longer.value == pytest.approx(50, abs=8)


def test_without_a_cue_the_texts_tell_nothing() -> None:
    accuracies = [find_artifacts(pairs("none", seed=seed)) for seed in range(8)]
    assert not any(found.found for found in accuracies)
    assert sum(found.accuracy.value for found in accuracies) / 8 == pytest.approx(50, abs=4)
    assert all(found.accuracy.low < 50 < found.accuracy.high for found in accuracies)


def test_pairs_of_an_image_are_predicted_together() -> None:
    """A cue that only tells images apart says nothing: each image has a word of its own for what is preferred."""
    rng = random.Random(3)
    known = []
    for number in range(200):
        base = pair(rng, number, "none")
        mark = f"word{number // 2}"
        known.append(Pair(base.id, base.image, base.prompt, f"{base.chosen} a{mark}", f"{base.rejected} b{mark}"))
    assert not find_artifacts(known).found


def test_which_response_is_named_first_changes_nothing() -> None:
    given = pairs("word", 120)
    swapped = [Pair(p.id, p.image, p.prompt, p.rejected, p.chosen) for p in given]
    ours, theirs = find_artifacts(given), find_artifacts(swapped)
    assert ours.accuracy == theirs.accuracy
    assert ours.hard == theirs.hard
    weights = {telling.feature: -telling.weight for telling in theirs.telling}
    shared = [telling for telling in ours.telling if telling.feature in weights]
    assert len(shared) >= 10  # equal weights may stand in another order
    assert [t.weight for t in shared] == pytest.approx([weights[t.feature] for t in shared])


def test_features_of_one_response() -> None:
    assert features("No dog.", ["words"]).keys() == {"no", "dog", ".", "no dog", "dog ."}
    places = features("A dog sleeps on the sofa.", ["places"])
    assert {"first word: a", "last word: sofa", "first third: dog", "last third: sofa"} <= places.keys()
    assert features("", ["words", "places"]) == {}


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="at least 20 pairs; there are 5"):
        find_artifacts(pairs("word", 5))


def rlhf_v_row(known: Pair) -> dict[str, object]:
    text = {"question": known.prompt, "chosen": known.chosen, "rejected": known.rejected}
    return {"ds_name": "RLHF-V", "idx": int(known.id), "image": known.image, "text": json.dumps(text)}


def rlaif_v_row(known: Pair) -> dict[str, object]:
    row = {"question": known.prompt, "chosen": known.chosen, "rejected": known.rejected}
    return row | {"ds_name": "RLAIF-V", "idx": int(known.id), "image_path": known.image, "image": None}


@pytest.mark.parametrize("row_of", [rlhf_v_row, rlaif_v_row])
def test_the_command_reports_on_published_files(row_of, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = pairs("word", 150)
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row_of(known)) + "\n" for known in given))
    hard = tmp_path / "out" / "hard.jsonl"
    hard.parent.mkdir()
    command = ["pairs", str(tmp_path / "data.jsonl"), "--artifacts", "--hard-subset", str(hard)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "speaks for rejected" in printed
    assert "clearly" in printed
    written = list(read_pairs(hard))
    assert 0 < len(written) < 75
    assert f"hard subset: {len(written)} of 150 pairs" in printed
    assert {(p.chosen, p.rejected) for p in written} <= {(p.chosen, p.rejected) for p in given}


def test_a_hard_subset_needs_the_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pairs", "x.jsonl", "--hard-subset", "y.jsonl"]) == 1
    assert "--hard-subset needs --artifacts" in capsys.readouterr().err
