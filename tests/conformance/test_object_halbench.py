"""Object HalBench against the authors' script (RLHF-V/RLAIF-V at 83d917b), see golden/object_halbench/README.md."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from old_nltk import lemmatise_as_then, read_as_then

from benchmarks.object_halbench.benchmark import ObjectHalBench, answer_text, review_figures, summary_figures
from benchmarks.object_halbench.phrases import RecordedAnalyser
from benchmarks.object_halbench.replies import UnreadableReplyError, read_strict
from benchmarks.object_halbench.words import ObjectTable
from evalkit.schema import Item, Prompt, Response, Sample, Score

REFINE = "synonyms_refine.txt"
MAPPING = "chair_mapping.mergeall.correct_0406.json"


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "object_halbench" / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tables(assets: Path) -> Path:
    return assets / "object_halbench"


@pytest.fixture
def tokens_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running text is cut and lemmatised as by nltk 3.8.1, with which the golden vectors were made."""
    read_as_then(monkeypatch)
    lemmatise_as_then(monkeypatch)


def read_cases(golden: Path, name: str) -> dict[str, dict[str, Any]]:
    lines = (golden / "object_halbench" / name).read_text(encoding="utf-8").splitlines()
    return {case["id"]: case for case in map(json.loads, lines)}


def item_of(case: dict[str, Any]) -> Item:
    return Item(case["id"], case["question"], None, {"objects": case["gt_objects"]})


def benchmark(tables: Path, synonyms: str = REFINE, **options: Any) -> ObjectHalBench:
    return ObjectHalBench(synonyms=tables / synonyms, reading="strict", prompt="own", **options)


def ask(bench: ObjectHalBench, case: dict[str, Any]) -> tuple[Score, int]:
    """Replay the extractor until a reply can be read; the last one repeats. Returns the score and the calls made."""
    item = item_of(case)
    bench._analyser = RecordedAnalyser(case["phrase_tokens"])
    bench.__dict__.pop("analyser", None)
    if bench.judge_prompt(item, case["caption"]) is None:
        return bench.score(item, case["caption"]), 0
    replies = case["extractor_outputs"]
    readable = [number for number, reply in enumerate(replies, 1) if bench.check_reply(reply) is None]
    calls = readable[0] if readable else len(replies)
    return bench.score(item, case["caption"], replies[calls - 1]), calls


def with_words(mentions: list[list[str]]) -> list[list[Any]]:
    """The authors' form of a hallucinated mention: [word, [word, category]]."""
    return [[word, [word, category]] for word, category in mentions]


def figures(scores: list[Score]) -> tuple[dict[str, Any], dict[str, Any]]:
    review = review_figures([score.counts for score in scores if score.counts is not None])
    return review, summary_figures(review)


def test_every_case_is_scored_as_the_authors_script_does(golden, tables, expected):
    bench = benchmark(tables)
    for name, case in read_cases(golden, "cases.jsonl").items():
        want = expected["cases"][name]
        score, calls = ask(bench, case)
        if "error" in want:
            assert score.counts is None, name
            assert score.failure.startswith(want["stage"]), name
            assert want["error"] in score.failure, name
            continue
        assert score.counts is not None, (name, score.failure)
        assert answer_text(case["caption"]) == want["answer_text"], name
        assert calls == want["extractor_calls"], name
        details = score.details
        assert details["objects"] == want["objs"], name
        assert [word for word, _ in details["mentions"]] == want["object_words"], name
        assert details["mentions"] == want["mscoco_generated_words"], name
        assert with_words(details["hallucinated"]) == want["mscoco_hallucinated_words"], name
        assert details["hallucination_idxs"] == want["hallucination_idxs"], name
        assert_metrics(score, want["metrics"], name)


def assert_metrics(score: Score, want: dict[str, float], name: str) -> None:
    counts = score.counts
    mentions = counts["mentions"]
    assert counts["hallucinated_responses"] == want["CHAIRs"], name
    assert (counts["hallucinated_mentions"] / mentions if mentions else 0.0) == want["CHAIRi"], name


def test_overall_and_summary_are_the_authors(golden, tables, expected):
    bench = benchmark(tables)
    cases = read_cases(golden, "cases.jsonl")
    samples = []
    for case in cases.values():
        item = item_of(case)
        score, _ = ask(bench, case)
        samples.append(Sample(item, Prompt(item.id, item.question), Response(item.id, case["caption"]), score))
    official = bench.official(samples)
    assert official["review"] == expected["overall"]
    assert official["summary"] == expected["summary"]
    assert set(official["left_out"]) == set(cases) - set(expected["scored_ids"])
    assert bench.official([replace(s) for s in reversed(samples)])["summary"] == expected["summary"]


def test_the_mapping_table_gives_the_withdrawn_scripts_figures(golden, tables, expected):
    want = expected["variant_mapping0406"]
    bench = benchmark(tables, MAPPING)
    scores = {name: ask(bench, case)[0] for name, case in read_cases(golden, "cases.jsonl").items()}
    for name, case in want["cases"].items():
        details = scores[name].details
        assert details["objects"] == case["objs"], name
        assert details["mentions"] == case["mscoco_generated_words"], name
        assert with_words(details["hallucinated"]) == case["mscoco_hallucinated_words"], name
        assert_metrics(scores[name], case["metrics"], name)
    assert figures([scores[name] for name in want["cases"]]) == (want["overall"], want["summary"])


@pytest.mark.usefixtures("tokens_of_then")
def test_the_path_without_a_judge_is_the_authors(golden, tables, expected):
    want = expected["judge_free"]
    bench = benchmark(tables, extractor="lemma")
    scores = []
    for name, case in read_cases(golden, "cases_judge_free.jsonl").items():
        item, row = item_of(case), want["cases"][name]
        assert bench.judge_prompt(item, case["caption"]) is None
        score = bench.score(item, case["caption"])
        details = score.details
        assert details["mentions"] == row["mscoco_generated_words"], name
        assert with_words(details["hallucinated"]) == row["mscoco_hallucinated_words"], name
        assert details["hallucination_idxs"] == row["hallucination_idxs"], name
        answer = answer_text(case["caption"])
        assert bench.table.finder.joined_words(answer) == row["tokens"], name
        mentions = bench.table.finder.find(answer).mentions
        assert [mention.index for mention in mentions] == row["object_idxs"], name
        assert_metrics(score, row["metrics"], name)
        scores.append(score)
    assert figures(scores) == (want["overall"], want["summary"])


def test_replies_parse_as_in_the_authors_script(expected):
    for row in expected["parse_table"]:
        if row["ok"]:
            value = read_strict(row["raw"])
            assert value == row["value"], row["raw"]
            assert type(value) is type(row["value"]), row["raw"]
        else:
            with pytest.raises(UnreadableReplyError):
                read_strict(row["raw"])


def test_every_attempt_parses_as_in_the_authors_script(golden, expected):
    for name, case in read_cases(golden, "cases.jsonl").items():
        for raw, row in zip(case["extractor_outputs"], expected["cases"][name].get("parse", []), strict=False):
            if row["ok"]:
                assert read_strict(raw) == row["value"], name
            else:
                with pytest.raises(UnreadableReplyError):
                    read_strict(raw)


@pytest.mark.usefixtures("tokens_of_then")
def test_ground_truth_is_built_as_in_the_authors_script(golden, tables):
    table = ObjectTable.read(tables / REFINE)
    for name, case in read_cases(golden, "cases_gt.jsonl").items():
        objects = {table.categories[category] for category in case["instance_categories"]}
        for caption in case["captions"]:
            objects |= table.objects_in(caption)
        assert sorted(objects) == sorted(case["expected_gt"]), name
