"""AMBER against golden vectors of the authors' script: every noun, every flag, every printed figure."""

import json
import re
from functools import lru_cache

import pytest

from benchmarks.amber.answers import score_answer
from benchmarks.amber.benchmark import AMBER
from benchmarks.amber.nouns import counts_of, find_nouns, read_nouns, score_description
from evalkit.schema import Prompt, Response, Sample

KINDS = {
    "a": ("all",),
    "g": ("generative",),
    "d": ("discriminative",),
    "de": ("existence",),
    "da": ("attribute",),
    "dr": ("relation",),
}
MODES = ("identity", "table")
LENIENT = {"lenient_lmms": "substring", "lenient_vlmeval": "word", "lenient_pope": "first_sentence"}
INCREMENTS = {
    "chair_score": "hallucinated_mentions",
    "chair_num": "mentions",
    "safe_cover_score": "covered_words",
    "safe_cover_num": "truth_words",
    "hallu_cover_score": "hit_words",
    "hallu_cover_num": "hallu_words",
    "non_hallu_num": "captions",
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@lru_cache
def amber(data, similarity, dimensions=("all",)):
    return AMBER(data, similarity=similarity, dimensions=dimensions, partial=True)


@pytest.fixture
def make(golden, assets):
    """A benchmark by similarity mode and the letters of the script's evaluation type."""

    def build(mode, kind="a"):
        source = f"table:{golden / 'amber' / 'sim_table.json'}" if mode == "table" else mode
        return amber(assets / "amber", source, KINDS[kind])

    return build


@pytest.fixture
def responses(golden):
    """Item id -> response of the two response files."""
    rows = read(golden / "amber" / "gen_responses.json") + read(golden / "amber" / "disc_responses.json")
    return {str(row["id"]): row["response"] for row in rows}


def scored(benchmark, rows):
    """Samples of (id, response) pairs; an id may come twice."""
    items = {item.id: item for item in benchmark.items()}
    chosen = [(items[item_id], text) for item_id, text in rows if item_id in items]
    return [
        Sample(item, Prompt(item.id, item.question), Response(item.id, text), benchmark.score(item, text))
        for item, text in chosen
    ]


@pytest.mark.parametrize("mode", MODES)
def test_from_nouns_every_flag_and_increment(golden, make, mode):
    benchmark = make(mode)
    items = {item.id: item for item in benchmark.items()}
    wrong = {}
    for row in read_lines(golden / "amber" / f"gen_expected_{mode}.jsonl"):
        reference = items[str(row["id"])].reference
        reading = read_nouns(row["vocab_nouns"], reference["truth"], reference["hallu"], benchmark.lexicon)
        counts = counts_of(reading)
        found = {
            "hallucinated_flags": [*map(int, reading.flags)],
            "truth_covered": [*map(int, reading.covered)],
            "hallu_hit": [*map(int, reading.hits)],
            "non_hallu_score": 1 - counts["hallucinated_captions"],
        } | {theirs: counts[ours] for theirs, ours in INCREMENTS.items()}
        wrong |= {(row["id"], name): value for name, value in found.items() if row[name] != value}
    assert wrong == {}


@pytest.mark.parametrize("mode", MODES)
def test_from_raw_responses_every_noun_and_count(golden, make, responses, mode):
    benchmark = make(mode)
    items = {item.id: item for item in benchmark.items()}
    wrong = []
    for row in read_lines(golden / "amber" / f"gen_expected_{mode}.jsonl"):
        reference, response = items[str(row["id"])].reference, responses[str(row["id"])]
        score = score_description(response, reference["truth"], reference["hallu"], benchmark.lexicon)
        agrees = (
            [noun.lemma for noun in find_nouns(response)] == row["nouns"]
            and score.details["nouns"] == row["vocab_nouns"]
            and [int(finding.label == "hallucinated") for finding in score.findings] == row["hallucinated_flags"]
            and all(score.counts[ours] == row[theirs] for theirs, ours in INCREMENTS.items())
        )
        wrong += [] if agrees else [row["id"]]
    assert wrong == []


def test_every_answer_in_every_reading(golden, make):
    items = {item.id: item for item in make("identity", "d").items()}
    wrong = []
    for row in read_lines(golden / "amber" / "disc_expected.jsonl"):
        item = items[str(row["id"])]
        score = score_answer(row["response"], item.reference["truth"])
        found = {
            "truth": item.reference["truth"],
            "correct_score": score.counts["correct"],
            "correct_num": score.counts["questions"],
            "no_score": score.counts["found_no"],
            "no_num": score.counts["no_questions"],
            "ans_no_score": score.counts["found_no"],
            "ans_no_num": score.counts["said_no"],
        } | {field: (score.details["read_as"][reading] or "unknown").capitalize() for field, reading in LENIENT.items()}
        wrong += [(row["id"], name) for name, value in found.items() if row[name] != value]
    assert wrong == []


def runs_of(golden):
    """Name -> run of overall.json, the small ones included."""
    overall = read(golden / "amber" / "overall.json")
    named = {name: run for name, run in overall.items() if isinstance(run, dict) and "expected" in run}
    return named | {f"tiny/{name}": run for name, run in overall["tiny"].items()}


RULES = {
    "constant_no_full": lambda truth: "No",
    "constant_yes_full": lambda truth: "Yes",
    "perfect_full": lambda truth: truth.capitalize(),
    "perfect_with_period_full": lambda truth: f"{truth.capitalize()}.",
}


def rows_of(name, run, benchmark, responses, golden):
    """(id, response) pairs of a run, from the description that stands in overall.json."""
    items = {item.id: item for item in benchmark.items()}
    if "items" in run:
        return [(str(row["id"]), row["response"]) for row in run["items"]]
    if "rule" in run:
        answer = RULES[name]
        return [
            (item.id, "" if item.groups["dimension"] == "generative" else answer(item.reference["truth"]))
            for item in items.values()
        ]
    if "ids" in run:
        before, joint, after = re.fullmatch(r'(.*)<.*"(.*)">(.*)', run["response_template"]).groups()
        return [(str(i), before + joint.join(items[str(i)].reference["truth"]) + after) for i in run["ids"]]
    lenient = next((field for field in LENIENT if field in run["input"]), None)
    if lenient is not None:
        return [(str(row["id"]), row[lenient]) for row in read_lines(golden / "amber" / "disc_expected.jsonl")]
    return [(item_id, text) for item_id, text in responses.items() if item_id in items]


def test_every_printed_figure_of_every_run(golden, make, responses):
    wrong = {}
    names = []
    for name, run in runs_of(golden).items():
        benchmark = make(run.get("similarity", "identity"), run["kind"])
        rows = rows_of(name, run, benchmark, responses, golden)
        figures = dict(benchmark.official(scored(benchmark, rows))["official"])
        score = figures.pop("amber_score")
        names.append(name)
        if figures != run["expected"] or score != run.get("amber_score", score):
            wrong[name] = (figures, score)
    assert wrong == {}
    assert set(RULES) <= set(names)


def test_lenient_readings_stand_beside_the_official_one(golden, make, responses):
    overall = read(golden / "amber" / "overall.json")
    benchmark = make("identity", "d")
    figures = benchmark.official(scored(benchmark, responses.items()))
    for field, reading in LENIENT.items():
        blocks = {name: block for name, block in figures[reading].items() if name != "amber_score"}
        assert blocks == overall[f"disc_{field}"]["expected"], reading


@pytest.mark.parametrize("mode", MODES)
def test_unrounded_metrics_lie_within_rounding_of_the_printed_ones(golden, make, responses, mode):
    from evalkit.metrics import sum_counts

    benchmark = make(mode)
    samples = scored(benchmark, responses.items())
    printed = benchmark.official(samples)["official"]
    sums = sum_counts(sample.score.counts for sample in samples)
    values = {metric.name: metric.value(sums) for metric in benchmark.metrics}
    for block in ("g", "d"):
        for name, value in printed[block].items():
            assert values[name.lower()] == pytest.approx(value, abs=0.11), name  # F1 is rounded twice


def test_constant_models_stand_in_the_baselines(golden, make):
    overall = read(golden / "amber" / "overall.json")
    benchmark = make("identity")
    baselines = benchmark.baselines(benchmark.items())
    for said in ("No", "Yes"):
        row, run = baselines[f"constant {said}, empty captions"], overall[f"constant_{said.lower()}_full"]
        assert row["amber_score"] == run["amber_score"]
        assert round(row["accuracy"], 1) == run["expected"]["d"]["Accuracy"]
        assert round(row["f1"], 1) == run["expected"]["d"]["F1"]
        assert row["cover"] == run["expected"]["g"]["Cover"]
