"""Checks: degenerate text is found, ordinary text is not, and a flagged run is never ranked first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.analysis.leaderboard import ranked
from evalkit.metrics import Metric
from evalkit.runs.checks import (
    _REFUSAL,
    check_samples,
    disqualified,
    flags_of,
    is_empty,
    is_refusal,
    is_repeated,
    is_yes_no_question,
    language_of,
    yes_or_no,
)

CHAIR_S = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
RECALL = Metric("recall", "100 * covered / references", higher_is_better=True)
CAPTION = (
    "The image shows a man who walks two dogs along a quiet street. There are parked cars on the left side, and "
    "a bicycle leans against the wall. The man is wearing a red jacket, and one of the dogs looks at the camera."
)


def row(text, question="Describe this image in detail.", finish="stop", counts=None):
    response = {"text": text, "failure": None if text is not None else "timeout", "finish": finish, "tokens": None}
    score = {"counts": counts if text is not None else None, "failure": None, "findings": [], "details": {}}
    return {"question": question, "prompt": question, "response": response, "score": score}


GOOD = {"bad": 0, "responses": 1, "covered": 3, "references": 4}
SILENT = {"bad": 0, "responses": 1, "covered": 0, "references": 4}


@pytest.mark.parametrize(
    ("text", "empty"), [("", True), (" .\n", True), ("!?", True), ("a", False), ("狗", False), ("7", False)]
)
def test_is_empty(text, empty):
    assert is_empty(text) is empty


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        (CAPTION, False),
        ("", False),
        ("dog dog dog", False),
        ("a dog " * 30, True),
        (CAPTION + " A dog is near the car." * 3, True),
        (CAPTION + " A dog is near the car." * 2, False),
        (CAPTION + " There is a cup on the table." * 4 + " There is a", True),
    ],
    ids=["caption", "empty", "short", "loop", "loop at the end", "said twice", "cut loop"],
)
def test_is_repeated(text, repeated):
    assert is_repeated(text) is repeated


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=12, max_size=40))
def test_a_loop_is_found_by_its_4_grams(words):
    grams = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    if len(set(grams)) <= len(grams) / 2:
        assert is_repeated(" ".join(words))
    elif is_repeated(" ".join(words)):
        assert any(words[-p:] == words[-2 * p : -p] == words[-3 * p : -2 * p] for p in range(4, len(words) // 3 + 1))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I cannot help with that.", True),
        ("As an AI language model, I do not see images.", True),
        ("I’m unable to view the picture.", True),
        (CAPTION, False),
        ("A sorry-looking dog.", False),
        (CAPTION + " I can't tell the colour.", False),
    ],
)
def test_is_refusal(text, refused):
    assert is_refusal(text) is refused


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (CAPTION, "en"),
        ("Das Bild zeigt einen Mann, der mit zwei Hunden auf der Straße ist.", "de"),
        ("这是一张图片", "cjk"),
        ("Мужчина и собака", "cyrillic"),
        ("dog, cat, tree", None),
        ("Yes", None),
        ("123", None),
    ],
)
def test_language_of(text, language):
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "answer"), [("Yes, it is.", "yes"), (" no", "no"), ("Not at all", "other"), ("", "other")]
)
def test_yes_or_no(text, answer):
    assert yes_or_no(text) == answer


@pytest.mark.parametrize(
    ("question", "expected"), [("Is there a dog?", True), ("Describe this image.", False), ("Island?", False)]
)
def test_is_yes_no_question(question, expected):
    assert is_yes_no_question(question) is expected


def kinds(checks):
    return {flag.kind for flag in flags_of(checks)}


def captions(n=40):
    return [row(f"{CAPTION} Number {i}.", counts=GOOD) for i in range(n)]


def test_ordinary_captions_raise_no_flag():
    checks = check_samples(captions(), [CHAIR_S, RECALL], {"empty captions": {"chair_s": 0.0, "recall": 0.0}})
    assert checks["flags"] == []
    assert checks["shares"] == dict.fromkeys(["empty", "repeated", "truncated", "refused", "off_language"], 0) | {
        "identical": 1 / 40
    }
    assert checks["coverage"] == 1


@pytest.mark.parametrize(
    ("text", "finish", "kind", "disqualifies"),
    [
        ("", "stop", "empty", True),
        ("a dog " * 30, "stop", "repeated", True),
        (CAPTION, "length", "truncated", False),
        ("I'm sorry, I can't do that.", "stop", "refused", True),
        ("Das Bild zeigt einen Mann, der mit dem Hund auf der Straße ist.", "stop", "off_language", True),
    ],
)
def test_a_quarter_of_degenerate_responses_is_flagged(text, finish, kind, disqualifies):
    rows = captions(30) + [row(f"{text} {i}" if text else "", finish=finish, counts=GOOD) for i in range(10)]
    (flag,) = [flag for flag in flags_of(check_samples(rows)) if flag.kind == kind]
    assert flag.disqualifies is disqualifies
    assert flag.text.startswith("25.0 % of the responses")


def test_a_collapsed_model_is_disqualified_by_its_text_and_by_its_counts():
    checks = check_samples([row(".", counts=SILENT) for _ in range(20)], [CHAIR_S, RECALL])
    assert kinds(checks) == {"empty", "identical", "silent"}
    assert disqualified(checks)


def test_silence_is_found_in_varied_text():
    rows = [row(f"A scene of kind {i} is visible in this picture.", counts=SILENT) for i in range(20)]
    assert kinds(check_samples(rows, [CHAIR_S, RECALL])) == {"silent"}


def test_low_recall_with_hallucinations_is_poor_not_silent():
    rows = [row(f"A scene of kind {i} is visible in this picture.", counts=SILENT | {"bad": i % 2}) for i in range(20)]
    assert check_samples(rows, [CHAIR_S, RECALL])["flags"] == []


@pytest.mark.parametrize(
    ("answers", "flagged"),
    [(["No"] * 20, True), (["No, there is not."] * 19 + ["Yes"], True), (["No", "Yes"] * 10, False)],
)
def test_one_sided_answers_are_disqualified(answers, flagged):
    checks = check_samples([row(answer, f"Is there a thing {i}?", counts=GOOD) for i, answer in enumerate(answers)])
    assert disqualified(checks) is flagged
    assert checks["answers"]["questions"] == 20


def test_failed_samples_lower_the_coverage_and_nothing_else():
    checks = check_samples(captions(8) + [row(None) for _ in range(2)])
    assert checks["coverage"] == 0.8
    assert kinds(checks) == {"coverage"}
    assert checks["shares"]["empty"] == 0


def test_no_sample_at_all():
    checks = check_samples([], [CHAIR_S])
    assert checks["coverage"] is None
    assert checks["words"] is None
    assert set(checks["shares"].values()) == {None}


def test_constant_models_that_do_as_well_are_named():
    rows = captions()
    assert kinds(check_samples(rows, [CHAIR_S, RECALL], {"all": {"chair_s": 0.0, "recall": 75.0}})) == {"baseline"}
    assert disqualified(check_samples(rows, [CHAIR_S, RECALL], {"all": {"chair_s": 0.0, "recall": 75.0}}))
    assert not disqualified(check_samples(rows, [CHAIR_S, RECALL], {"c": {"chair_s": 5.0, "recall": 90.0}}))
    assert kinds(check_samples(rows, [CHAIR_S, RECALL], {"c": {"chair_s": 5.0, "recall": 90.0}})) == {"baseline"}


def test_word_counts():
    checks = check_samples([row("one", counts=GOOD), row("one two three", counts=GOOD)])
    assert checks["words"]["mean"] == 2
    assert checks["words"]["median"] == 2


def test_disqualified_runs_are_ranked_last():
    values = {"collapsed": 0.0, "good": 10.0, "bad": 30.0, "unknown": None}
    assert ranked(list(values), values, CHAIR_S, {"collapsed": True}) == ["good", "bad", "unknown", "collapsed"]
    assert ranked(["good", "bad"], values, RECALL, {}) == ["bad", "good"]


def test_a_constant_model_that_is_perfect_further_down_the_list_is_no_warning() -> None:
    accuracy = Metric("accuracy", "100 * correct / items", higher_is_better=True)
    recall = Metric("recall", "100 * found / positives", higher_is_better=True)
    counts = [{"correct": 1, "items": 1, "found": int(n % 9 > 0), "positives": 1} for n in range(18)]
    rows = [row(f"{CAPTION} {n}", counts=count) for n, count in enumerate(counts)]
    constant_yes = {"constant Yes": {"accuracy": 50.0, "recall": 100.0}}
    assert "baseline" not in kinds(check_samples(rows, [accuracy, recall], constant_yes))
    assert "baseline" in kinds(check_samples(rows, [recall, accuracy], constant_yes))


def test_a_few_yes_no_questions_among_others_say_nothing_about_the_model() -> None:
    asked = [row("No", question="Is there a dog in the image?", counts=GOOD) for _ in range(12)]
    others = [row(f"{CAPTION} {n}", counts=GOOD) for n in range(84)]
    assert "one_sided" in kinds(check_samples(asked))
    assert "one_sided" not in kinds(check_samples(asked + others))


@pytest.mark.parametrize(
    "answer", ["No, no dog.", "No, no.", "No, as I see no dog.", "Hay in a van, no son.", "Den den den.", "Die, die."]
)
def test_english_answers_of_few_words_are_no_other_language(answer):
    assert language_of(answer) in (None, "en")


def test_a_refusal_is_found_by_its_words_as_by_the_whole_pattern():
    starts = ("I'm sorry", "i am sorry", "I apologise", "I apologize", "As an AI", "I can not", "I cannot", "I can't")
    starts += ("I cant", "I'm unable", "I am not able", "Unable to describe", "No image was provided", "I can’t")
    for start in starts:
        for text in (f"{start}, no.", f"Well. {start.upper()} to see", f"{start} describe"):
            assert is_refusal(text) == (_REFUSAL.search(text.replace("’", "'")) is not None), text
        assert is_refusal(f"{start} ")
    assert not is_refusal("A can stands on a table beside a sorry cat.")
