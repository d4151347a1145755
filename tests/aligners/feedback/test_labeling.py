"""Responses become claims, questions, judgements and scores."""

from collections.abc import Mapping, Sequence

import pytest

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import Claim
from aligners.feedback.labeling import (
    Judgement,
    image_questions,
    judge_questions,
    label,
    label_statistics,
    question_id,
    yes_share,
)
from aligners.feedback.splitting import Divided, ModelSplitter, RuleSplitter, divided_from_row
from evalkit.engines.base import Choices
from evalkit.engines.replay import ScriptedEngine
from evalkit.schema import Prompt


def candidate(name: str, text: str = "", image: str | None = "a.png") -> Candidate:
    return Candidate(name, name.split("#")[0], image, "Describe.", text, 0)


def claim(thing: str) -> Claim:
    return Claim(f"There is a {thing}.", f"Is there a {thing}?")


def divided(name: str, *things: str, failure: str | None = None) -> Divided:
    return Divided(name, tuple(map(claim, things)), failure)


class Labeler(ScriptedEngine):
    """Knows some probabilities of yes by the words of a question; the rest of the mass is no's."""

    def __init__(self, yes: Mapping[str, float]) -> None:
        super().__init__(lambda prompt, sample: None)
        self.yes = yes
        self.prompts: list[Prompt] = []

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        self.prompts += prompts
        found = [next(p for word, p in self.yes.items() if word in prompt.text) for prompt in prompts]
        return [Choices((p, 1 - p), "Yes" if p > 0.5 else "No") for p in found]


def judged(labeler: Labeler, candidates: Sequence[Candidate], claims: Mapping[str, Divided]) -> dict[str, dict]:
    questions = image_questions(candidates, claims)
    return {
        row["id"]: row for row in judge_questions(labeler, questions, lambda question, text: Prompt(question.id, text))
    }


# --- splitters ----------------------------------------------------------------------------------------------------


def test_rules_divide_an_english_description() -> None:
    found = next(RuleSplitter().split([candidate("p#0", "There is a dog. There is a cat.")]))
    assert [c.question for c in found.claims] == ["Is there a dog in the image?", "Is there a cat in the image?"]


def scripted_splitter(facts: str | None, questions: str | None) -> ModelSplitter:
    return ModelSplitter(ScriptedEngine(lambda prompt, _: questions if "### Questions" in prompt.text else facts))


def test_a_model_splits_and_asks() -> None:
    splitter = scripted_splitter("- There is a dog.\n- It runs.", "- Is there a dog?\n- Does it run?")
    found = next(splitter.split([candidate("p#0", "A dog runs.")]))
    assert found.claims == (Claim("There is a dog.", "Is there a dog?"), Claim("It runs.", "Does it run?"))
    assert found.failure is None
    assert len(found.replies) == 2


@pytest.mark.parametrize(
    ("facts", "questions", "failure"),
    [
        (None, None, "no list of claims"),
        ("- There is a dog.", None, "no questions"),
        ("- There is a dog.\n- It runs.", "- Is there a dog?", "1 questions for 2 claims"),
    ],
)
def test_a_splitter_that_fails_says_how(facts: str | None, questions: str | None, failure: str) -> None:
    found = next(scripted_splitter(facts, questions).split([candidate("p#0", "A dog runs.")]))
    assert failure in str(found.failure)
    assert found.claims == ()


def test_a_response_without_facts_has_no_claims_and_no_failure() -> None:
    found = next(scripted_splitter("###", None).split([candidate("p#0", "Lovely!")]))
    assert (found.claims, found.failure) == ((), None)


def test_a_row_of_claims_reads_back() -> None:
    one = Divided("p#0", (claim("dog"),), None, ("- There is a dog.",))
    assert divided_from_row(one.as_row()) == one


# --- questions ----------------------------------------------------------------------------------------------------


def test_a_question_about_an_image_is_asked_once() -> None:
    candidates = [candidate("p#0"), candidate("p#1"), candidate("q#0", image="b.png")]
    claims = {"p#0": divided("p#0", "dog"), "p#1": divided("p#1", "dog", "cat"), "q#0": divided("q#0", "dog")}
    asked = [(question.image, question.question) for question in image_questions(candidates, claims)]
    assert asked == [("a.png", "Is there a dog?"), ("a.png", "Is there a cat?"), ("b.png", "Is there a dog?")]


def test_prompts_without_image_share_no_judgement() -> None:
    one, other = candidate("p#0", image=None), candidate("q#0", image=None)
    assert question_id(one, claim("dog")) != question_id(other, claim("dog"))


@pytest.mark.parametrize(
    ("wording", "asked"),
    [(None, "Is there a dog? Please answer yes or no."), ("Q: {question} A:", "Q: Is there a dog? A:")],
)
def test_the_labeler_is_asked_in_its_wording(wording: str | None, asked: str) -> None:
    labeler, one = Labeler({"dog": 0.9}), candidate("p#0")
    questions = image_questions([one], {"p#0": divided("p#0", "dog")})
    given = {} if wording is None else {"wording": wording}
    list(judge_questions(labeler, questions, lambda question, text: Prompt(question.id, text), **given))
    assert [prompt.text for prompt in labeler.prompts] == [asked]


# --- scores -------------------------------------------------------------------------------------------------------


def test_a_score_counts_refuted_claims() -> None:
    candidates = [candidate("p#0"), candidate("p#1")]
    claims = {"p#0": divided("p#0", "dog", "cat"), "p#1": divided("p#1", "dog", "car", "bus")}
    rows = judged(Labeler({"dog": 0.9, "cat": 0.6, "car": 0.4, "bus": 0.1}), candidates, claims)
    found = label(candidates, claims, rows, tie_confirms=False)
    assert [one.score() for one in found] == [0, -2]
    assert [one.score(confirmed_weight=1.0) for one in found] == [2, -1]
    assert all(one.judged for one in found)


def test_soft_scores_weigh_claims_by_probability() -> None:
    one, claims = candidate("p#0"), {"p#0": divided("p#0", "dog", "cat")}
    (found,) = label([one], claims, judged(Labeler({"dog": 0.9, "cat": 0.4}), [one], claims), tie_confirms=False)
    assert found.score(soft=True) == pytest.approx(-0.7)
    assert found.score(0.5, soft=True) == pytest.approx(0.5 * 1.3 - 0.7)


def test_a_labeler_without_any_opinion_counts_half() -> None:
    assert yes_share(Judgement("?", 0.0, 0.0)) == 0.5


@pytest.mark.parametrize(("tie_confirms", "score"), [(True, 0), (False, -1)])
def test_a_tie_is_read_as_the_preset_says(tie_confirms: bool, score: int) -> None:
    one, claims = candidate("p#0"), {"p#0": divided("p#0", "dog")}
    found = label([one], claims, judged(Labeler({"dog": 0.5}), [one], claims), tie_confirms=tie_confirms)
    assert found[0].score() == score


@pytest.mark.parametrize("nothing", [divided("p#0"), divided("p#0", failure="no list")])
def test_a_response_of_which_nothing_was_checked_has_no_score(nothing: Divided) -> None:
    found = label([candidate("p#0")], {"p#0": nothing}, {}, tie_confirms=False)
    assert (found[0].score(), found[0].judged) == (None, False)


def test_two_claims_with_one_question_are_not_fully_judged() -> None:
    twice = Divided("p#0", (claim("dog"), Claim("A dog is there.", "Is there a dog?")))
    one = candidate("p#0")
    found = label([one], {"p#0": twice}, judged(Labeler({"dog": 0.9}), [one], {"p#0": twice}), tie_confirms=False)
    assert not found[0].judged


def test_a_repeated_claim_is_judged_once_and_takes_its_weight_away() -> None:
    twice = Divided("p#0", (claim("dog"), claim("cat"), claim("dog")))
    one = candidate("p#0")
    rows = judged(Labeler({"dog": 0.9, "cat": 0.8}), [one], {"p#0": twice})
    (found,) = label([one], {"p#0": twice}, rows, tie_confirms=False, count_repeated=True)
    assert (found.judged, found.repeated, found.confirmed) == (True, 1, 2)
    assert found.score(0.75, 1.5) == 0.75 * 2 - 1.5
    assert found.score(0.75, 1.5, soft=True) == pytest.approx(0.75 * 1.7 - 0.3 - 1.5)


def test_label_statistics_tell_how_sure_the_labeler_was() -> None:
    rows = [{"p_yes": 0.6, "p_no": 0.2}, {"p_yes": 0.1, "p_no": 0.3}]
    assert label_statistics(rows) == pytest.approx(
        {"questions": 2, "yes_share": 0.5, "mean_confidence": 0.75, "other_mass": 0.4}
    )
    assert label_statistics([])["yes_share"] is None
