import json

import pytest

from benchmarks.pope import METRICS, POPE, official_figures, score_answer
from evalkit.benchmark import Benchmark
from evalkit.errors import DataError, UsageError
from evalkit.formats.importers import import_responses
from evalkit.harness.results import write_results
from evalkit.metrics import sum_counts
from evalkit.schema import Prompt, Response, Sample

QUESTIONS = [
    {"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": "yes"},
    {"question_id": 2, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "no"},
    {"question_id": 4, "image": "b.jpg", "text": "Is there a car in the image?", "label": "no"},
]


def lines(rows):
    return rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)


def write(folder, random=QUESTIONS, popular=QUESTIONS, adversarial=QUESTIONS):
    folder.mkdir(exist_ok=True)
    for split, rows in (("random", random), ("popular", popular), ("adversarial", adversarial)):
        (folder / f"coco_pope_{split}.json").write_text(lines(rows))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "pope")


def changed(number, **fields):
    return [{**row, **fields} if row["question_id"] == number else row for row in QUESTIONS]


def samples_of(benchmark, respond):
    return [
        Sample(item, Prompt(item.id, item.question), Response(item.id, text), benchmark.score(item, text))
        for item in benchmark.items()
        if (text := respond(item)) is not None
    ]


def test_ids_are_unique_across_splits(folder):
    items = POPE(folder).items()
    assert [item.id for item in items] == [f"{s}/{n}" for s in ("random", "popular", "adversarial") for n in (1, 2, 4)]
    assert len({item.id for item in items}) == 9
    assert items[3].groups == {"split": "popular"}
    assert [item.cluster for item in items[:3]] == ["a.jpg", "a.jpg", "b.jpg"]
    assert [item.reference["truth"] for item in items[:3]] == ["yes", "no", "no"]


def test_a_prompt_is_the_question_with_its_image(folder, tmp_path):
    benchmark = POPE(folder, images=tmp_path / "val2014")
    prompt = benchmark.prompt(benchmark.items()[0])
    assert (prompt.id, prompt.text) == ("random/1", "Is there a dog in the image?")
    assert (prompt.images[0].folder, prompt.images[0].name) == (tmp_path / "val2014", "a.jpg")


def test_items_without_images_are_enough_for_responses_made_elsewhere(folder):
    benchmark = POPE(folder, without_images=True)
    assert benchmark.prompt(benchmark.items()[0]).images == ()
    assert benchmark.items()[0].cluster == "a.jpg"


def test_splits_can_be_chosen_and_stand_in_the_settings(folder):
    benchmark = POPE(folder, splits=("adversarial", "random"))
    assert {item.groups["split"] for item in benchmark.items()} == {"random", "adversarial"}
    assert benchmark.settings()["splits"] == "random+adversarial"
    assert "splits" not in POPE(folder).settings()
    assert benchmark.settings()["data"] != POPE(folder).settings()["data"]


@pytest.mark.parametrize("splits", [("easy",), ()])
def test_an_unknown_or_empty_selection_of_splits_is_refused(folder, splits):
    with pytest.raises(UsageError, match="known: random, popular, adversarial"):
        POPE(folder, splits=splits)


@pytest.mark.parametrize(
    ("response", "truth", "official", "strict"),
    [
        ("Yes, there is a dog.", "yes", "tp", "tp_strict"),
        ("Yes", "no", "fp", "fp_strict"),
        ("No", "no", "tn", "tn_strict"),
        ("no.", "yes", "fn", "fn_strict"),
        ("There is no dog.", "no", "tn", "unread_strict"),
        ("NO", "no", "fp", "tn_strict"),
        ("", "yes", "tp", "unread_strict"),
        ("", "no", "fp", "unread_strict"),
    ],
)
def test_every_answer_counts_once_in_each_reading(response, truth, official, strict):
    counts = score_answer(response, truth).counts
    assert [name for name in ("tp", "fp", "tn", "fn") if counts[name]] == [official]
    readings = ("tp_strict", "fp_strict", "tn_strict", "fn_strict", "unread_strict")
    assert [name for name in readings if counts[name]] == [strict]


def test_metrics_in_both_readings():
    answers = [("Yes", "yes"), ("Yes", "no"), ("There is no car.", "no"), ("A dog", "yes"), ("No", "yes")]
    sums = sum_counts(score_answer(*answer).counts for answer in answers)
    values = {metric.name: metric.value(sums) for metric in METRICS}
    assert values["accuracy"] == pytest.approx(60)  # tp 2, fp 1, tn 1, fn 1
    assert values["precision"] == pytest.approx(100 * 2 / 3)
    assert values["recall"] == pytest.approx(100 * 2 / 3)
    assert values["f1"] == pytest.approx(100 * 2 / 3)
    assert values["yes_ratio"] == pytest.approx(60)
    assert values["accuracy_strict"] == pytest.approx(20)  # tp 1, fp 1, fn 1, two unread
    assert values["precision_strict"] == pytest.approx(50)
    assert values["recall_strict"] == pytest.approx(100 / 3)
    assert values["f1_strict"] == pytest.approx(2 / (1 / 0.5 + 3) * 100)
    assert values["yes_ratio_strict"] == pytest.approx(40)
    assert values["unread_strict"] == pytest.approx(40)


def test_official_figures_by_hand():
    assert official_figures({"tp": 2, "fp": 1, "tn": 1, "fn": 2}) == {
        "TP": 2,
        "FP": 1,
        "TN": 1,
        "FN": 2,
        "Accuracy": 0.5,
        "Precision": pytest.approx(2 / 3),
        "Recall": 0.5,
        "F1 score": pytest.approx(4 / 7),
        "Yes ratio": 0.5,
    }


@pytest.mark.parametrize(
    ("sums", "undefined"),
    [
        ({}, {"Accuracy", "Precision", "Recall", "F1 score", "Yes ratio"}),
        ({"tn": 3, "fn": 1}, {"Precision", "F1 score"}),  # nothing answered yes
        ({"tn": 3, "fp": 1}, {"Recall", "F1 score"}),  # nothing to find
        ({"fp": 1, "fn": 1}, {"F1 score"}),
    ],
)
def test_an_empty_denominator_is_undefined(sums, undefined):
    assert {name for name, value in official_figures(sums).items() if value is None} == undefined


def test_official_figures_for_each_complete_split(folder):
    benchmark = POPE(folder)
    figures = benchmark.official(
        samples_of(benchmark, lambda item: "Yes" if item.groups["split"] == "popular" else "No")
    )
    assert figures["popular"]["Yes ratio"] == 1.0
    assert figures["random"]["Accuracy"] == pytest.approx(2 / 3)
    assert figures["random"]["F1 score"] is None


def test_official_figures_are_withheld_from_an_incomplete_split(folder):
    benchmark = POPE(folder)
    samples = samples_of(benchmark, lambda item: None if item.id == "random/4" else "No")
    figures = benchmark.official(samples)
    assert figures["random"] == {"withheld": "1 of 3 questions have no score; set pope.partial=true for figures"}
    assert figures["popular"]["TN"] == 2
    assert POPE(folder, partial=True).official(samples)["random"]["TN"] == 1


def test_constant_models(folder):
    benchmark = POPE(folder)
    baselines = benchmark.baselines(benchmark.items())
    assert baselines["constant Yes"]["yes_ratio"] == 100
    assert baselines["constant Yes"]["recall"] == 100
    assert baselines["constant No"]["accuracy"] == pytest.approx(200 / 3)
    assert baselines["constant No"]["precision"] is None


def test_a_run_over_a_part_stands_beside_constant_models_over_that_part(folder, tmp_path):
    benchmark = POPE(folder, partial=True)
    samples = samples_of(benchmark, lambda item: "No" if item.id in ("random/1", "random/2") else None)
    write_results(tmp_path, benchmark, samples, {"signature": "pope"}, lambda stage, done, total: None)
    stored = json.loads((tmp_path / "metrics.json").read_text())["baselines"]
    assert (stored["constant No"]["accuracy"], stored["constant Yes"]["accuracy"]) == (50, 50)


class TestEvaluate:
    """Scoring without the harness."""

    def test_responses_by_id_give_metrics_counts_scores_and_figures(self, folder):
        responses = {"random/4": "No", "random/1": "Yes", "random/2": "yes"}
        result = POPE.evaluate(responses, folder, splits=("random",))
        assert result.metrics["accuracy"] == pytest.approx(200 / 3)
        assert result.counts["fp"] == 1
        assert result.scores["random/4"].counts["tn"] == 1
        assert result.official["random"]["Yes ratio"] == pytest.approx(2 / 3)

    def test_missing_and_unknown_ids_are_named(self, folder):
        with pytest.raises(DataError, match=r"pope: 8 of 9 items have no response: random/2, .*; choose partial"):
            POPE.evaluate({"random/1": "Yes"}, folder)
        with pytest.raises(DataError, match="pope: 1 responses belong to no item: random/3"):
            POPE.evaluate({"random/3": "Yes"}, folder, partial=True)
        assert POPE.evaluate({"random/1": "Yes"}, folder, partial=True).official["popular"]["Accuracy"] is None


def test_it_has_official_figures_and_baselines(folder):
    benchmark = POPE(folder)
    assert isinstance(benchmark, Benchmark)
    assert benchmark.official([]) is not None
    assert benchmark.baselines(benchmark.items()) is not None


def test_older_editions_with_another_ending_and_length_are_read(tmp_path):
    for split in ("random", "popular", "adversarial"):
        (tmp_path / f"coco_pope_{split}.jsonl").write_text(lines(QUESTIONS[: 2 if split == "random" else 3]))
    assert len(POPE(tmp_path).items()) == 8
    (tmp_path / "coco_pope_random.json").write_text(lines(QUESTIONS))
    with pytest.raises(DataError, match="two editions"):
        POPE(tmp_path).items()


def test_it_reads_the_miniature_world(tmp_path):
    from evalkit.miniature.files import write_world

    benchmark = POPE.miniature(write_world(tmp_path, 6, seed=2))
    items = benchmark.items()
    assert {item.groups["split"] for item in items} == {"random", "popular", "adversarial"}
    assert all(item.image.path.is_file() for item in items)
    figures = benchmark.official(samples_of(benchmark, lambda item: item.reference["truth"].capitalize()))
    assert all(figures[split]["Accuracy"] == 1.0 for split in figures)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", r"coco_pope_random\.json"),
        ([{"id": 1, "type": "generative"}], "random.json:1: no field 'question_id'; found 'id', 'type'"),
        (changed(2, label="No"), "random.json:2: 'label' must be yes or no, found 'No'"),
        (changed(2, label=True), "random.json:2: 'label' must be a string"),
        (changed(2, question_id=1), "random.json:2: question_id 1 stands already at .*random.json:1"),
        (changed(4, text=None), "random.json:3: 'text' must be a string"),
        (changed(4, image=7), "random.json:3: 'image' must be a string"),
        (lines(QUESTIONS)[:-20], "random.json:3: not JSON"),
        ('"text"', "random.json.*expected"),
    ],
)
def test_bad_question_files_are_refused_with_file_and_line(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        POPE(write(tmp_path, random=rows)).items()


def test_an_absent_split_is_named(tmp_path):
    with pytest.raises(DataError, match=r"coco_pope_random\.json: no such file"):
        POPE(tmp_path).items()


class TestResponseFiles:
    """Answers made elsewhere, joined by the harness's importer: one file for each split, told by its name."""

    def read(self, folder, rows, partial=False):
        items = POPE(folder, splits=("random", "popular")).items()
        paths = [folder / f"answers_{split}.jsonl" for split in rows]
        for path, part in zip(paths, rows.values(), strict=True):
            path.write_text(lines(part))
        return {
            r.prompt_id: r.text for r in import_responses(paths, items, "pope", partial=partial, formats=POPE.formats)
        }

    def test_joined_by_id_whatever_the_order(self, folder):
        rows = [{"question_id": number, "answer": f"No {number}"} for number in (4, 1, 2)]
        expected = {f"{split}/{number}": f"No {number}" for split in ("random", "popular") for number in (1, 2, 4)}
        assert self.read(folder, {"popular": rows, "random": rows}) == expected

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([{"question_id": 3, "answer": "Yes"}], "answers_random.jsonl:1 .no item with id '?3"),
            ([{"question_id": 1, "answer": "a"}, {"question_id": 1, "answer": "b"}], "item 'random/1' at .*:2, before"),
            ([{"question_id": 1, "answer": "Yes"}], "items have no answer .*random/2"),
            ([{"question_id": 1, "answer": {}}], "answers_random.jsonl:1"),
            ([{"question_id": 1}], "answers_random.jsonl:1: no field 'answer'"),
            ("", "answers_random.jsonl"),
        ],
    )
    def test_bad_files_are_refused_with_file_line_and_item(self, folder, rows, message):
        with pytest.raises(DataError, match=message):
            self.read(folder, {"random": rows})

    def test_a_part_only_if_asked_for(self, folder):
        assert self.read(folder, {"random": [{"question_id": 1, "answer": "Yes"}]}, partial=True) == {"random/1": "Yes"}
