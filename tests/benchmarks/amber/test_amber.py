import json

import pytest

from benchmarks.amber.answers import score_answer
from benchmarks.amber.benchmark import AMBER, plain_metrics
from evalkit.benchmark import Benchmark
from evalkit.errors import DataError, UsageError
from evalkit.formats.importers import import_responses
from evalkit.metrics import sum_counts
from evalkit.schema import Prompt, Response, Sample, Score

RELATION = {"dog": ["puppy"], "cat": [], "person": ["man"], "sign": []}
ANNOTATIONS = [
    {"id": 1, "type": "generative", "truth": ["dog", "person"], "hallu": ["cat"]},
    {"id": 2, "type": "generative", "truth": ["cat"], "hallu": ["dog", "sign"]},
    {"id": 3, "type": "discriminative-attribute-state", "truth": "yes"},
    {"id": 4, "type": "discriminative-attribute-number", "truth": "no"},
    {"id": 5, "type": "discriminative-attribute-action", "truth": "no"},
    {"id": 6, "type": "discriminative-hallucination", "truth": "no"},
    {"id": 7, "type": "discriminative-relation", "truth": "yes"},
    {"id": 8, "type": "relation", "truth": "no"},
]
QUERIES = [
    {"id": a["id"], "image": f"AMBER_{1 + a['id'] % 2}.jpg", "query": f"Question {a['id']}?"} for a in ANNOTATIONS
]


def write(folder, annotations=ANNOTATIONS, queries=QUERIES, relation=RELATION, safe_words="sign"):
    (folder / "query").mkdir(parents=True, exist_ok=True)
    (folder / "annotations.json").write_text(json.dumps(annotations))
    (folder / "query" / "query_all.json").write_text(json.dumps(queries))
    (folder / "relation.json").write_text(json.dumps(relation))
    (folder / "safe_words.txt").write_text(safe_words)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "amber")


def changed(rows, number, **fields):
    return [{**row, **fields} if row["id"] == number else row for row in rows]


def samples_of(benchmark, respond):
    samples = []
    for item in benchmark.items():
        text = respond(item)
        response = Response(item.id, text, failure="cut off" if text is None else None)
        score = Score(None, failure="generation: cut off") if text is None else benchmark.score(item, text)
        samples.append(Sample(item, Prompt(item.id, item.question), response, score))
    return samples


def constant(said):
    return lambda item: "" if item.groups["dimension"] == "generative" else said


def test_items_carry_groups_image_cluster_and_reference(folder):
    items = AMBER(folder, similarity="identity").items()
    assert [item.id for item in items] == list("12345678")
    assert [item.groups["type"] for item in items] == [
        *["generative"] * 2, "state", "number", "action", "existence", "relation", "relation",
    ]  # fmt: skip
    assert [item.groups["dimension"] for item in items] == [
        *["generative"] * 2, *["attribute"] * 3, "existence", *["relation"] * 2,
    ]  # fmt: skip
    assert items[0].reference == {"truth": ["dog", "person"], "hallu": ["cat"]}
    assert items[3].reference == {"truth": "no"}
    assert items[0].cluster == items[2].cluster == "AMBER_2.jpg"
    assert items[0].image.folder == folder / "image"


def test_a_prompt_is_the_question_with_its_image(folder, tmp_path):
    benchmark = AMBER(folder, images=tmp_path / "photos", similarity="identity")
    item = benchmark.items()[0]
    prompt = benchmark.prompt(item)
    assert (prompt.id, prompt.text, prompt.images[0].folder) == ("1", "Question 1?", tmp_path / "photos")


def test_items_without_images_are_enough_for_responses_made_elsewhere(folder):
    benchmark = AMBER(folder, similarity="identity", without_images=True)
    assert benchmark.items()[0].image is None
    assert benchmark.prompt(benchmark.items()[0]).images == ()
    assert benchmark.items()[0].cluster == "AMBER_2.jpg"


@pytest.mark.parametrize(
    ("dimensions", "ids", "headline"),
    [
        (("all",), "12345678", "amber_score"),
        (("generative", "discriminative"), "12345678", "amber_score"),
        (("generative",), "12", "chair"),
        (("discriminative",), "345678", "accuracy"),
        (("existence",), "6", "accuracy"),
        (("relation", "attribute"), "34578", "accuracy"),
        (("generative", "existence"), "126", "chair"),
    ],
)
def test_dimensions_select_items_and_metrics(folder, dimensions, ids, headline):
    benchmark = AMBER(folder, similarity="identity", dimensions=dimensions)
    assert [item.id for item in benchmark.items()] == list(ids)
    assert benchmark.metrics[0].name == headline
    names = [metric.name for metric in benchmark.metrics]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("dimensions", [("hallucination",), ()])
def test_an_unknown_or_empty_selection_is_refused(folder, dimensions):
    with pytest.raises(UsageError, match="known: all, discriminative, generative"):
        AMBER(folder, dimensions=dimensions)


def test_cover_and_share_of_no_stand_beside_the_score():
    names = [metric.name for metric in plain_metrics(("generative", "existence", "attribute", "relation"))]
    assert {"amber_score", "cover", "share_no"} <= set(names)


@pytest.mark.parametrize(
    ("response", "truth", "correct", "said_no", "unread", "correct_word"),
    [
        ("Yes", "yes", 1, 0, 0, 1),
        ("No", "no", 1, 1, 0, 1),
        ("No", "yes", 0, 1, 0, 0),
        ("No.", "no", 0, 0, 1, 1),
        ("Yes.", "no", 0, 0, 1, 0),
        ("", "no", 0, 0, 1, 0),
    ],
)
def test_an_answer_is_read_exactly_and_leniently(response, truth, correct, said_no, unread, correct_word):
    counts = score_answer(response, truth).counts
    assert (counts["correct"], counts["said_no"], counts["unread"]) == (correct, said_no, unread)
    assert counts["correct_word"] == correct_word


def test_details_show_how_an_answer_was_read():
    assert score_answer("No way.", "no").details["read_as"] == {
        "exact": None,
        "word": "no",
        "substring": "no",
        "first_sentence": "no",
    }


def test_metrics_of_a_mixed_run(folder):
    benchmark = AMBER(folder, similarity="identity", dimensions=("discriminative",))
    said = {"3": "Yes", "4": "No", "5": "Yes", "6": "No.", "7": "No", "8": "No"}
    sums = sum_counts(s.score.counts for s in samples_of(benchmark, lambda item: said[item.id]))
    values = {metric.name: metric.value(sums) for metric in benchmark.metrics}
    assert values["accuracy"] == pytest.approx(100 * 3 / 6)
    assert values["precision"] == pytest.approx(100 * 2 / 3)
    assert values["recall"] == pytest.approx(100 * 2 / 4)
    assert values["f1"] == pytest.approx(200 * 2 / 7)
    assert values["share_no"] == pytest.approx(50)
    assert values["unread"] == pytest.approx(100 / 6)
    assert values["accuracy_word"] == pytest.approx(100 * 4 / 6)
    assert values["unread_word"] == 0


def test_constant_models_are_rated_as_the_script_rates_them(folder):
    benchmark = AMBER(folder, similarity="identity")
    baselines = benchmark.baselines(benchmark.items())
    assert list(baselines) == ["constant No, empty captions", "constant Yes, empty captions"]
    no, yes = baselines.values()
    assert (no["chair"], no["cover"], no["recall"], no["share_no"]) == (0.0, 0.0, 100.0, 100.0)
    assert no["amber_score"] == pytest.approx((100 + no["f1"]) / 2, abs=0.1)
    assert (yes["recall"], yes["precision"], yes["share_no"], yes["amber_score"]) == (0.0, None, 0.0, 50.0)


def test_baselines_of_one_half_leave_the_other_out(folder):
    captions = AMBER(folder, similarity="identity", dimensions=("generative",))
    assert captions.baselines(captions.items()) == {
        "empty captions": {"chair": 0.0, "cover": 0.0, "hal": 0.0, "cog": 0.0}
    }
    questions = AMBER(folder, dimensions=("existence",))
    rows = questions.baselines(questions.items())
    assert (rows["constant No"]["accuracy"], rows["constant Yes"]["accuracy"]) == (100.0, 0.0)


def test_baselines_of_a_part_are_those_of_its_items(folder):
    benchmark = AMBER(folder, similarity="identity", partial=True)
    items = {item.id: item for item in benchmark.items()}
    rows = benchmark.baselines([items["1"], items["3"], items["4"], items["7"]])
    no, yes = rows["constant No, empty captions"], rows["constant Yes, empty captions"]
    assert (no["accuracy"], yes["accuracy"]) == (pytest.approx(100 / 3), pytest.approx(200 / 3))
    assert no["amber_score"] == pytest.approx((100 + no["f1"]) / 2, abs=0.1)
    (captions,) = benchmark.baselines([items["1"]]).values()
    assert (captions["chair"], captions["cover"], captions["accuracy"], captions["amber_score"]) == (0, 0, None, None)
    asked = benchmark.baselines([items["4"]])["constant No"]
    assert (asked["accuracy"], asked["chair"], asked["amber_score"]) == (100, None, None)


def test_official_figures_of_a_complete_run_in_every_reading(folder):
    benchmark = AMBER(folder, similarity="identity")
    figures = benchmark.official(samples_of(benchmark, constant("No.")))
    assert (figures["items"], figures["missing"], figures["similarity"]) == (8, 0, "identity")
    assert figures["official"]["d"] == {"Accuracy": 0.0, "Precision": 0.0, "Recall": 0.0, "F1": 0.0}
    assert figures["official"]["amber_score"] == 50.0
    assert figures["word"]["d"]["Recall"] == 100.0
    assert list(figures)[-4:] == ["official", "word", "substring", "first_sentence"]


def test_official_figures_are_withheld_from_a_part_unless_asked_for(folder):
    def respond(item):
        return None if item.id == "6" else constant("No")(item)

    benchmark = AMBER(folder, similarity="identity")
    withheld = benchmark.official(samples_of(benchmark, respond))
    assert "official" not in withheld
    assert "1 items have no score" in withheld["withheld"]
    figures = AMBER(folder, similarity="identity", partial=True).official(samples_of(benchmark, respond))
    assert (figures["missing"], figures["official"]["de"]["Accuracy"]) == (1, 0.0)


def test_figures_do_not_depend_on_the_order_of_samples(folder):
    benchmark = AMBER(folder, similarity="identity")
    samples = samples_of(benchmark, constant("Yes"))
    assert benchmark.official(samples[::-1]) == benchmark.official(samples)


def test_settings_name_the_similarity_so_that_identity_is_never_plain_amber(folder, tmp_path):
    assert AMBER(folder, similarity="identity").settings()["similarity"] == "identity"
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"pairs": [["cat", "dog", 0.9]]}))
    assert AMBER(folder, similarity=f"table:{table}").settings()["similarity"].startswith("table-")
    assert "similarity" not in AMBER(folder, dimensions=("existence",)).settings()


def test_settings_change_with_the_data(folder):
    before = AMBER(folder, similarity="identity").settings()
    write(folder, safe_words="sign\ndog")
    after = AMBER(folder, similarity="identity").settings()
    assert before["data"] != after["data"]
    assert AMBER(folder, dimensions=("existence",)).settings()["dimensions"] == "existence"


def test_questions_alone_need_no_similarity_and_no_nltk(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nltk", None)
    benchmark = AMBER(folder, dimensions=("discriminative",))
    assert benchmark.score(benchmark.items()[0], "Yes").counts["correct"] == 1
    assert list(benchmark.libraries()) == []
    assert list(AMBER(folder, dimensions=("generative",)).libraries()) == ["nltk", "nltk_data"]


def test_a_missing_similarity_source_is_found_before_a_model_is_asked(folder, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        AMBER(folder, similarity=f"table:{tmp_path / 'absent.json'}").items()


def test_a_description_is_scored_against_its_image(folder):
    benchmark = AMBER(folder, similarity="identity")
    counts = benchmark.score(benchmark.items()[0], "A man stands beside two puppies and a cat.").counts
    assert (counts["mentions"], counts["hallucinated_mentions"], counts["covered_words"]) == (3, 1, 2)


class TestEvaluate:
    """Scoring without the harness."""

    answers = {3: "Yes", 4: "No", 5: "No", 6: "No.", 7: "Yes", 8: "No"}

    def test_responses_by_id_give_metrics_counts_scores_and_figures(self, folder):
        result = AMBER.evaluate(self.answers, folder, dimensions=("discriminative",))
        assert result.metrics["accuracy"] == pytest.approx(100 * 5 / 6)
        assert result.metrics["accuracy_word"] == 100
        assert result.counts["questions"] == 6
        assert result.scores["6"].counts["unread"] == 1
        assert result.official["official"]["d"]["Accuracy"] == 83.3

    def test_items_without_a_response_are_named(self, folder):
        with pytest.raises(DataError, match="amber: 2 of 8 items have no response: 1, 2; choose partial"):
            AMBER.evaluate(self.answers, folder, "identity")
        assert AMBER.evaluate(self.answers, folder, "identity", partial=True).metrics["chair"] is None

    def test_responses_without_an_item_are_named_even_in_a_part(self, folder):
        with pytest.raises(DataError, match="amber: 1 responses belong to no item: 15221"):
            AMBER.evaluate({15221: "No"}, folder, "identity", partial=True)


def test_it_has_official_figures_and_baselines(folder):
    benchmark = AMBER(folder, similarity="identity")
    assert isinstance(benchmark, Benchmark)
    assert benchmark.official([]) is not None
    assert benchmark.baselines(benchmark.items()) is not None


def test_it_reads_the_miniature_world(tmp_path):
    from evalkit.miniature.files import write_world

    benchmark = AMBER.miniature(write_world(tmp_path, 12, seed=1))
    items = benchmark.items()
    assert {item.groups["dimension"] for item in items} == {"generative", "existence", "attribute", "relation"}
    assert all(item.image.path.is_file() for item in items)
    truth = [s for s in samples_of(benchmark, lambda item: _truthful(item)) if s.score.counts]
    figures = benchmark.official(truth)["official"]
    assert figures["d"]["Accuracy"] == 100.0
    assert figures["g"]["CHAIR"] == 0.0
    assert figures["g"]["Cover"] > 90  # the tagger does not take every noun of a bare list for a noun
    assert benchmark.settings()["similarity"] == "identity"


def _truthful(item):
    truth = item.reference["truth"]
    return f"There is a {' and a '.join(truth)}." if isinstance(truth, list) else truth.capitalize()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": changed(ANNOTATIONS, 3, type="discriminative-size")}, "entry 3: item 3: unknown type"),
        (
            {"annotations": changed(ANNOTATIONS, 3, truth="Yes")},
            "entry 3: item 3: 'truth' must be yes or no, found 'Yes'",
        ),
        ({"annotations": changed(ANNOTATIONS, 3, truth=["yes"])}, "entry 3: 'truth' must be a string"),
        ({"annotations": changed(ANNOTATIONS, 1, truth="dog")}, "entry 1: 'truth' must be a list"),
        ({"annotations": changed(ANNOTATIONS, 1, hallu=[1])}, "entry 1: 'hallu' must be a list of strings"),
        ({"annotations": changed(ANNOTATIONS, 2, hallu=["yeti"])}, "entry 2: 'yeti' has no entry in .*relation.json"),
        ({"annotations": changed(ANNOTATIONS, 2, id="2")}, "entry 2: 'id' must be an integer"),
        ({"annotations": changed(ANNOTATIONS, 2, id=1)}, "entry 2: id 1 stands already at .*entry 1"),
        ({"annotations": ANNOTATIONS[:-1]}, "do not belong together: 1 ids stand in one of them only, e.g. 8"),
        ({"queries": QUERIES[1:]}, "do not belong together: 1 ids stand in one of them only, e.g. 1"),
        (
            {"queries": [{"image_id": 1, "caption": "a dog"}]},
            "query_all.json: entry 1: no field 'id'; found 'image_id'",
        ),
        ({"queries": changed(QUERIES, 5, query=None)}, "entry 5: 'query' must be a string"),
        ({"relation": [["dog"]]}, "relation.json: expected a JSON object"),
        ({"relation": {**RELATION, "dog": "puppy"}}, "relation.json: 'dog' must be a list"),
        ({"safe_words": ""}, "safe_words.txt: the file is empty"),
    ],
)
def test_bad_data_files_are_refused_with_file_entry_and_item(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        AMBER(write(tmp_path, **change), similarity="identity").items()


def test_an_absent_folder_names_the_file(tmp_path):
    with pytest.raises(DataError, match=r"annotations\.json: no such file"):
        AMBER(tmp_path, similarity="identity", dimensions=("existence",)).items()


class TestResponseFiles:
    """Files in the script's input format, joined by the harness's importer."""

    def read(self, folder, rows, partial=False):
        path = folder / "responses.json"
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
        items = AMBER(folder, dimensions=("relation",)).items()
        return {
            r.prompt_id: r.text for r in import_responses(path, items, "amber", partial=partial, formats=AMBER.formats)
        }

    def test_any_order_by_id(self, folder):
        rows = [{"id": 8, "response": "No"}, {"id": 7, "response": "Yes"}]
        assert self.read(folder, rows) == {"7": "Yes", "8": "No"}

    def test_a_part_only_if_asked_for(self, folder):
        assert self.read(folder, [{"id": 8, "response": "No"}], partial=True) == {"8": "No"}

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([{"id": 8, "response": "No"}], "responses.json: 1 of 2 items have no answer .*: 7"),
            ([{"id": 7, "response": "a"}, {"id": 7, "response": "b"}], "item '7' at .*entry 2, before at .*entry 1"),
            ([{"id": 0, "response": "No"}], "entry 1 .no item with id '?0"),
            ([{"id": 15221, "response": "No"}], "entry 1 .no item with id '?15221"),
            ([{"id": 1, "response": "A dog."}], "entry 1 .no item with id '?1"),
            ([{"image_id": 7, "caption": "A dog."}], "entry 1: no field"),
            ([{"id": 7, "response": ["No"]}], "entry 1"),
            ('{"id": 7, "response": "Yes"}\n{"id": 8, "resp', "responses.json:2: not JSON"),
            ("", "responses.json"),
            ("[]", "holds no rows"),
        ],
    )
    def test_bad_files_are_refused_with_file_entry_and_item(self, folder, rows, message):
        with pytest.raises(DataError, match=message):
            self.read(folder, rows)
