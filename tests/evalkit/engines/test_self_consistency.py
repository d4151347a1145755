"""Self-consistency of mentions: what samples agree on is kept, and nothing else is changed."""

from collections.abc import Iterator, Sequence

import pytest

from evalkit.engines.self_consistency import SelfConsistency, SelfConsistencyEngine, nouns_of, supported_part
from evalkit.errors import UsageError
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

CAT, DOG, BOTH = "There is a cat.", "There is a dog.", "There is a cat. There is a dog."


class Scripted:
    """Draws these texts in turn, last sample first; None is a failure."""

    name = "scripted"

    def __init__(self, texts: Sequence[str | None], lost: int = 0) -> None:
        self.texts, self.lost, self.asked = texts, lost, Sampling()

    def describe(self) -> dict[str, str]:
        return {"model": "scripted"}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        self.asked = sampling
        for prompt in prompts:
            for sample in reversed(range(self.lost, sampling.n)):
                text = self.texts[sample]
                failure = "died" if text is None else None
                yield Response(prompt.id, text, sample, "stop", None if text is None else (1, 2), failure=failure)

    def stop(self) -> None:
        self.stopped = True


def said(texts: Sequence[str | None], n: int = 3, responses: int = 1, **settings: float) -> list[Response]:
    engine = SelfConsistencyEngine(Scripted(texts), SelfConsistency(n=n, **settings))
    return list(engine.generate([Prompt("p", "?")], Sampling(n=responses)))


def test_nouns_are_lemmas() -> None:
    assert nouns_of("Two dogs sit on a couch.") == {"dog", "couch"}
    assert nouns_of("") == set()


@pytest.mark.parametrize(
    ("texts", "agreement", "expected"),
    [
        ((BOTH, BOTH, BOTH), 0.5, BOTH),
        ((BOTH, DOG, DOG), 0.5, DOG),
        ((BOTH, CAT, DOG), 0.5, BOTH),  # two of three name each
        ((BOTH, CAT, DOG), 0.7, ""),
        ((BOTH, CAT), 0.5, CAT),  # one of two is no majority
        ((CAT, DOG, DOG), 0.5, ""),  # what only the others say is not added
        (("There are cats.", CAT, DOG), 0.5, "There are cats."),
    ],
)
def test_sentences_with_nouns_that_samples_agree_on_are_kept(texts, agreement, expected) -> None:
    assert supported_part(texts, agreement) == expected


def test_a_sentence_without_nouns_is_kept(nltk_data) -> None:
    assert supported_part(("Yes.", "No.", "No."), 0.5) == "Yes."


def test_samples_are_put_in_order_and_in_groups_of_their_own() -> None:
    first, second = said([BOTH, DOG, DOG, CAT, CAT, BOTH], responses=2)
    assert (first.text, first.sample, first.token_ids) == (DOG, 0, None)
    assert (second.text, second.sample, second.token_ids) == (CAT, 1, (1, 2))  # unchanged, so its tokens are its own


def test_failed_samples_do_not_vote() -> None:
    (response,) = said([None, BOTH, CAT])
    assert (response.text, response.failure) == (CAT, None)
    (response,) = said([None, None, None])
    assert (response.text, response.failure) == (None, "died")


def test_samples_are_drawn_with_a_temperature_of_their_own() -> None:
    engine = SelfConsistencyEngine(Scripted([BOTH] * 5))
    list(engine.generate([Prompt("p", "?")], Sampling(num_beams=5, max_new_tokens=7)))
    asked = engine._engine.asked
    assert (asked.n, asked.temperature, asked.num_beams, asked.max_new_tokens) == (5, 0.7, 1, 7)
    assert engine.describe()["self_consistency"] == {"n": 5, "agreement": 0.5, "temperature": 0.7, "top_p": 1.0}


def test_a_stopped_engine_leaves_no_response_of_fewer_samples() -> None:
    engine = SelfConsistencyEngine(Scripted([BOTH] * 5, lost=1))
    assert list(engine.generate([Prompt("p", "?")], Sampling())) == []


@pytest.mark.parametrize("wrong", [{"n": 1}, {"temperature": 0.0}, {"agreement": 1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="self-consistency needs at least 2 samples"):
        SelfConsistency(**wrong)
