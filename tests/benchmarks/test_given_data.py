"""Public functions that take somebody's data say what is wrong with it; nothing odd is scored as if it were right."""

import math

import numpy as np
import pytest

from aligners.rewards.chair import chair_reward
from aligners.rewards.reward import Sampled
from benchmarks import dash_b, mmstar, pope, repope
from benchmarks.amber import answers as amber
from benchmarks.chair import CHAIR, score_caption
from benchmarks.object_halbench.benchmark import ObjectHalBench
from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Vocabulary
from evalkit.errors import DataError

SYNONYMS = {"dog": "dog", "puppy": "dog", "cat": "cat"}
FINDER = MentionFinder(Vocabulary(SYNONYMS, CHAIR_DOUBLE_WORDS), "singularize")
NO_CATEGORIES = [["puppy"], "dog", {"Dog"}, ["dog "], [["dog"]], [b"dog"], [1], None, math.nan]
NO_TEXTS = [3, True, b"A dog.", ["A dog."], {"text": "A dog."}]
MISSING = [None, math.nan, np.nan, np.float32("nan")]


def chair(responses, references):
    return CHAIR.evaluate(responses, references, SYNONYMS, "singularize")


def object_halbench(responses, references):
    return ObjectHalBench.evaluate(responses, references, SYNONYMS, analyser="nltk")


def reward(responses, references):
    rows = [Sampled("p", text, reference={"objects": references[image]}) for image, text in responses.items()]
    return chair_reward(FINDER)(rows)


def caption(responses, references):
    return [score_caption(text, references[image], FINDER) for image, text in responses.items()]


@pytest.mark.parametrize("score", [chair, object_halbench, caption, reward])
@pytest.mark.parametrize("references", NO_CATEGORIES, ids=repr)
def test_references_that_are_no_list_of_categories_are_refused(score, references):
    with pytest.raises(DataError, match=r"categor|list of reference objects"):
        score({7: "A dog."}, {7: references})


@pytest.mark.parametrize("score", [chair, object_halbench])
@pytest.mark.parametrize("objects", [["dog"], ("dog",), {"dog"}, frozenset({"dog"}), {"dog": 1}], ids=repr)
def test_any_collection_of_categories_will_do(score, objects):
    assert score({7: "A dog."}, {7: objects}).metrics["recall"] == 100.0


@pytest.mark.parametrize("score", [chair, object_halbench])
@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_response_is_a_failed_one(score, missing):
    result = score({7: missing, 8: "A cat."}, {7: ["dog"], 8: ["dog"]})
    assert result.metrics["chair_s"] == 100.0
    assert result.scores[7].counts is None


@pytest.mark.parametrize("score", [chair, object_halbench, caption])
@pytest.mark.parametrize("response", NO_TEXTS, ids=repr)
def test_a_response_that_is_no_text_is_refused(score, response):
    with pytest.raises(DataError, match="must be a text"):
        score({7: response}, {7: ["dog"]})


@pytest.mark.parametrize("score", [chair, object_halbench])
@pytest.mark.parametrize("pair", [(["A dog."], {7: []}), ("A dog.", {7: []}), ({7: "A dog."}, [["dog"]])], ids=repr)
def test_what_is_no_mapping_by_id_is_refused(score, pair):
    with pytest.raises(DataError, match="expected a mapping"):
        score(*pair)


@pytest.mark.parametrize("module", [pope, dash_b, amber, repope, mmstar], ids=lambda module: module.__name__)
@pytest.mark.parametrize("truth", ["Yes", "YES", "maybe", "", None, True, 1, "AB", "a"], ids=repr)
def test_a_truth_that_is_no_label_is_refused(module, truth):
    arguments = ("yes", truth) if module is repope else (truth,)
    with pytest.raises(DataError, match="the truth must be"):
        module.score_answer("Yes", *arguments)


@pytest.mark.parametrize("module", [pope, dash_b, amber, mmstar], ids=lambda module: module.__name__)
@pytest.mark.parametrize("response", [None, *NO_TEXTS], ids=repr)
def test_an_answer_that_is_no_text_is_refused(module, response):
    with pytest.raises(DataError, match="must be a text"):
        module.score_answer(response, "A" if module is mmstar else "yes")
