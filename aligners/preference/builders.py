"""Pairs built in other ways than by a score gap; each a builder of ordinary pairs, none a trainer.

    first_error_pairs     the first refuted sentence of a response, against a confirmed one in its place (SENTINEL, Peng
                          et al. 2025, arXiv:2507.12455)
    conversations         corrected responses as supervised data, so that DPO starts from a policy that has seen them
                          (OPA-DPO, Yang et al. 2025, arXiv:2501.09695)
    order_confidence      how sure a labeler is that the chosen response has fewer false claims; label_confidence sets
                          both orders against each other: meta.confidence, which DPO weighs on request

Differs from SENTINEL: there the confirmed sentence is sampled in the context of the ones before it; here it is taken
from another sample of the same prompt, so that candidates which are labelled already suffice. The context is part of
both responses instead of the prompt: a shared beginning cancels in the sum that DPO compares. Differs from OPA-DPO: its
adapters sit on the vision tower too, ours do not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from aligners.preference.pairs import Pair


@dataclass(frozen=True, slots=True)
class JudgedSentence:
    """A sentence of a response, the claims in it, and how many of them a labeler refuted.

    refuted None: not judged, so neither good nor bad.
    """

    text: str
    claims: int
    refuted: int | None

    @property
    def confirmed(self) -> bool:
        """It claims something, and all of that was confirmed."""
        return self.claims > 0 and self.refuted == 0


@dataclass(frozen=True, slots=True)
class JudgedResponse:
    """One sampled response, sentence by sentence; `prompt_id` is shared by the samples of one prompt."""

    id: str
    prompt_id: str
    image: str | None
    prompt: str
    sentences: tuple[JudgedSentence, ...]


def first_error_pairs(responses: Sequence[JudgedResponse], *, seed: int) -> tuple[list[Pair], dict[str, int]]:
    """One pair for each response with a refuted sentence, if a confirmed one of the same prompt can take its place.

    Both responses are what was said before the error, then one sentence. Candidates for the chosen sentence are those
    of the prompt's other samples that are not said before; of the ones nearest to the same place one is drawn.

    Args:
        responses: samples of any number of prompts.
        seed: of the draw; each response has its own from it.
    Returns:
        (pairs, counts): counts has responses, clean (without an error), unjudged (before the first error) and
        without_alternative.
    """
    by_prompt: dict[str, list[JudgedResponse]] = {}
    for response in responses:
        by_prompt.setdefault(response.prompt_id, []).append(response)
    counts = {"responses": len(responses), "clean": 0, "unjudged": 0, "without_alternative": 0}
    pairs = []
    for response in responses:
        place = _first_error(response)
        if isinstance(place, str):
            counts[place] += 1
            continue
        before = [sentence.text for sentence in response.sentences[:place]]
        others = [other for other in by_prompt[response.prompt_id] if other.id != response.id]
        chosen = _alternative(others, place, before, Random(f"first error:{seed}:{response.id}"))
        if chosen is None:
            counts["without_alternative"] += 1
            continue
        wrong = response.sentences[place]
        meta = {"builder": "first error", "sentence": place, "refuted": wrong.refuted}
        texts = (" ".join([*before, chosen]), " ".join([*before, wrong.text]))
        pairs.append(Pair(f"{response.id}@{place}", response.image, response.prompt, *texts, meta))
    return pairs, counts


def _first_error(response: JudgedResponse) -> int | str:
    """Index of the first refuted sentence, or the count to raise instead."""
    for place, sentence in enumerate(response.sentences):
        if sentence.claims and sentence.refuted is None:
            return "unjudged"
        if sentence.refuted:
            return place
    return "clean"


def _alternative(others: Sequence[JudgedResponse], place: int, before: Sequence[str], rng: Random) -> str | None:
    said = {text.strip().lower() for text in before}
    usable = [
        (abs(index - place), sentence.text)
        for other in others
        for index, sentence in enumerate(other.sentences)
        if sentence.confirmed and sentence.text.strip().lower() not in said
    ]
    if not usable:
        return None
    nearest = min(distance for distance, _ in usable)
    return rng.choice(sorted({text for distance, text in usable if distance == nearest}))


def conversations(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """The chosen response of each pair as a conversation in LLaVA's form, each prompt and response once.

    This is what `evalkit align fact-rlhf --supervised` and LLaVA's own trainers read.
    """
    rows: dict[tuple[str | None, str, str], dict[str, Any]] = {}
    for pair in pairs:
        key = (pair.image, pair.prompt, pair.chosen)
        marker = "<image>\n" if pair.image is not None else ""
        turns = [{"from": "human", "value": marker + pair.prompt}, {"from": "gpt", "value": pair.chosen}]
        image = {} if pair.image is None else {"image": pair.image}
        rows.setdefault(key, {"id": pair.id, **image, "conversations": turns})
    return list(rows.values())


def order_confidence(chosen: Sequence[float], rejected: Sequence[float], *, min_gap: int = 1) -> float:
    """Probability that the rejected response has at least `min_gap` more false claims than the chosen one.

    Args:
        chosen, rejected: for each claim, the labeler's probability that it is false (p_no / (p_yes + p_no)).
        min_gap: 1 in RLAIF-V.
    Returns:
        A fraction; claims count as independent, so each side's number of false claims is a Poisson binomial.
    """
    ours, theirs = _false_claims(chosen), _false_claims(rejected)
    return sum(p * sum(theirs[count + min_gap :]) for count, p in enumerate(ours))


def label_confidence(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Probability that the order of a pair is right, given that the two have not equally many false claims.

    Args:
        chosen, rejected: as in `order_confidence`.
    Returns:
        A fraction; one half where nothing speaks for either order.
    """
    right, wrong = order_confidence(chosen, rejected), order_confidence(rejected, chosen)
    return right / (right + wrong) if right + wrong > 0 else 0.5


def _false_claims(probabilities: Sequence[float]) -> list[float]:
    """P(0), P(1), ... of the number of false claims."""
    distribution = [1.0]
    for p in probabilities:
        distribution = [a * (1 - p) + b * p for a, b in zip([*distribution, 0.0], [0.0, *distribution], strict=True)]
    return distribution
