"""POPE: the authors' reading of answers, and their published question lists."""

import json
from itertools import cycle

import pytest

from benchmarks.pope import POPE, SPLITS, official_figures, score_answer
from benchmarks.yes_no import read_first_sentence
from evalkit.metrics import sum_counts
from evalkit.schema import Prompt, Response, Sample


@pytest.fixture
def answers(golden):
    """(response, what the authors' script reads in it: yes or no)."""
    lines = (golden / "amber" / "disc_expected.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["response"], row["lenient_pope"].lower()) for row in rows]


def test_every_answer_is_read_as_the_authors_script_reads_it(answers):
    assert [text for text, expected in answers if read_first_sentence(text) != expected] == []


def edition(assets, name):
    return assets / "pope" if name == "current" else assets / "pope" / name


@pytest.mark.parametrize("name", ["current", "llava_rlhf"])
def test_both_editions_of_the_lists_are_read_whole(assets, name):
    folder = edition(assets, name)
    items = POPE(folder).items()
    for split in SPLITS:
        (path,) = folder.glob(f"coco_pope_{split}.json*")
        lines = path.read_text(encoding="utf-8").splitlines()
        assert sum(item.groups["split"] == split for item in items) == len(lines)
    assert len({item.id for item in items}) == len(items)


def test_the_editions_agree_on_the_labels_of_shared_questions(assets):
    tables = []
    for name in ("current", "llava_rlhf"):
        items = POPE(edition(assets, name)).items()
        tables.append({(i.groups["split"], i.cluster, i.question): i.reference["truth"] for i in items})
    shared = tables[0].keys() & tables[1].keys()
    assert len(shared) > len(tables[0]) / 2
    assert [key for key in shared if tables[0][key] != tables[1][key]] == []


def test_the_figures_of_each_split_follow_from_the_readings(assets, answers):
    """The script's arithmetic restated on golden answers dealt out to the questions in turn."""
    benchmark = POPE(assets / "pope")
    dealt = list(zip(benchmark.items(), cycle(answers), strict=False))
    samples = [
        Sample(item, Prompt(item.id, item.question), Response(item.id, text), benchmark.score(item, text))
        for item, (text, _) in dealt
    ]
    figures = benchmark.official(samples[::-1])
    for split in SPLITS:
        pairs = [(read, item.reference["truth"]) for item, (_, read) in dealt if item.groups["split"] == split]
        found = sum(pair == ("yes", "yes") for pair in pairs)
        said, there = sum(read == "yes" for read, _ in pairs), sum(truth == "yes" for _, truth in pairs)
        precision, recall = found / said, found / there
        assert figures[split]["Accuracy"] == sum(read == truth for read, truth in pairs) / len(pairs)
        assert figures[split]["Precision"] == precision
        assert figures[split]["Recall"] == recall
        assert figures[split]["F1 score"] == 2 * precision * recall / (precision + recall)
        assert figures[split]["Yes ratio"] == said / len(pairs)


def test_a_model_that_says_nothing_says_yes(assets):
    """The script reads an empty answer as yes."""
    for split in SPLITS:
        items = POPE(assets / "pope", splits=(split,)).items()
        sums = sum_counts(score_answer("", item.reference["truth"]).counts for item in items)
        assert official_figures(sums)["Yes ratio"] == 1.0
