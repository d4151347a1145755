"""Pairs built from the journals of an iteration: the first false sentence, and how sure the label of a pair is."""

import json
from dataclasses import asdict, replace

import pytest

from aligners.feedback.built import confident_pairs, first_errors, read_feedback, sentence_of
from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import Claim
from aligners.feedback.labeling import Judgement, Labelled, question_id
from aligners.feedback.round import make_pairs
from aligners.preference.builders import label_confidence
from aligners.preference.pairs import Pair, read_pairs, write_pairs
from aligners.presets import RLAIFV
from evalkit.__main__ import main
from evalkit.errors import DataError
from evalkit.runs.records import Journal

TEXTS = {"p0#0": "A dog sleeps. There is a cat.", "p0#1": "A dog sleeps. There is a cup.", "p1#0": "A hat."}
YES = {"dog": 0.9, "cat": 0.2, "cup": 0.7, "hat": 0.6}


@pytest.fixture
def iteration(tmp_path):
    """A judged iteration of two prompts, and the prompts file beside it."""
    folder = tmp_path / "iteration_1"
    folder.mkdir()
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"id": p, "image": None, "prompt": "Describe."}) + "\n" for p in ("p0", "p1"))
    )
    rows = {"candidates": [], "claims": [], "judgements": {}}
    for key, text in TEXTS.items():
        prompt, sample = key.split("#")
        candidate = Candidate(key, prompt, None, "Describe.", text, int(sample))
        rows["candidates"].append(asdict(candidate) | {"failure": None})
        claims = [Claim(f"There is a {thing}.", f"Is there a {thing}?") for thing in YES if thing in text]
        rows["claims"].append({"id": key, "claims": [asdict(claim) for claim in claims], "failure": None})
        for claim in claims:
            name = question_id(candidate, claim)
            p = YES[claim.text.split()[-1].rstrip(".")]
            rows["judgements"][name] = {"id": name, "question": claim.question, "p_yes": p, "p_no": 1 - p}
    rows["judgements"] = list(rows["judgements"].values())
    for name, lines in rows.items():
        with Journal(folder / f"{name}.jsonl") as journal:
            for line in lines:
                journal.append(line)
    write_pairs(folder / "pairs.jsonl", [Pair("p0#1>p0#0", None, "Describe.", TEXTS["p0#1"], TEXTS["p0#0"])])
    return folder


def test_the_first_refuted_sentence_makes_a_pair_behind_what_was_said_before(iteration, tmp_path):
    pairs, counts = first_errors(iteration, tmp_path / "prompts.jsonl", seed=0)
    assert [(pair.id, pair.chosen, pair.rejected) for pair in pairs] == [("p0#0@1", TEXTS["p0#1"], TEXTS["p0#0"])]
    assert counts == {"responses": 3, "clean": 2, "unjudged": 0, "without_alternative": 0}


def test_a_pair_is_as_sure_as_its_claims(iteration):
    [pair] = confident_pairs(iteration)
    assert pair.meta["confidence"] == pytest.approx(label_confidence([0.1, 0.3], [0.1, 0.8]))
    assert 0.5 < pair.meta["confidence"] < 1.0


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [([0.0], [1.0], 1.0), ([1.0], [0.0], 0.0), ([0.5], [0.5], 0.5), ([], [], 0.5), ([0.2], [0.8], 0.64 / 0.68)],
)
def test_the_confidence_of_a_label_is_that_of_its_order_against_the_other(chosen, rejected, expected):
    assert label_confidence(chosen, rejected) == pytest.approx(expected)


@pytest.mark.parametrize("asked", [False, True])
def test_an_iteration_notes_how_sure_its_labels_are_where_training_asks_for_it(asked):
    def labelled(sample, *yes):
        judgements = tuple(Judgement(f"Is there {number}?", p, 1 - p) for number, p in enumerate(yes))
        return Labelled(Candidate(f"p#{sample}", "p", None, "Q", f"text {sample}", sample), judgements, True, False)

    preset = replace(RLAIFV, label_confidence=asked, balance_lengths=False)
    [pair], _ = make_pairs([labelled(0, 0.9, 0.8), labelled(1, 0.9, 0.3)], preset, seed=0)
    assert pair.id == "p#0>p#1"
    assert pair.meta.get("confidence") == (pytest.approx(label_confidence([0.1, 0.2], [0.1, 0.7])) if asked else None)


def test_a_claim_without_an_answer_leaves_its_sentence_unjudged(iteration, tmp_path):
    lines = (iteration / "judgements.jsonl").read_text().splitlines()
    (iteration / "judgements.jsonl").write_text("".join(f"{line}\n" for line in lines if "cat" not in line))
    pairs, counts = first_errors(iteration, tmp_path / "prompts.jsonl", seed=0)
    assert not pairs
    assert counts["unjudged"] == 1


def test_what_is_no_judged_iteration_is_refused(iteration, tmp_path):
    (iteration / "judgements.jsonl").unlink()
    with pytest.raises(DataError, match=r"judgements\.jsonl is missing"):
        read_feedback(iteration)


def test_pairs_of_other_candidates_and_prompts_of_another_run_are_refused(iteration, tmp_path):
    write_pairs(iteration / "pairs.jsonl", [Pair("x>y", None, "Describe.", "a", "b")])
    with pytest.raises(DataError, match="'x>y' is of no two candidates"):
        confident_pairs(iteration)
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"id": "other", "image": None, "prompt": "Q"}) + "\n")
    with pytest.raises(DataError, match="has not the prompts"):
        first_errors(iteration, tmp_path / "prompts.jsonl", seed=0)


def test_a_claim_belongs_to_the_sentence_with_most_of_its_words():
    texts = ["A man rides a horse.", "The horse is white.", "A white fence."]
    assert [sentence_of(claim, texts) for claim in ("The horse is white.", "There is a fence.", "Is a man")] == [
        1,
        2,
        0,
    ]


def test_the_command_builds_both_kinds(iteration, tmp_path, capsys):
    out = tmp_path / "new.jsonl"
    assert main(["pairs", str(iteration), "--build", "confident", "--output-path", str(out)]) == 0
    assert "mean confidence" in capsys.readouterr().out
    assert next(read_pairs(out)).meta["confidence"] > 0.5
    command = ["pairs", str(iteration), "--build", "first-error", "--output-path", str(out)]
    assert main(command) == 1
    assert "--prompts" in capsys.readouterr().err
    assert main([*command, "--prompts", str(tmp_path / "prompts.jsonl")]) == 0
    assert "3 responses, 2 clean" in capsys.readouterr().out
    assert next(read_pairs(out)).id == "p0#0@1"
