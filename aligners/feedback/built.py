"""Pairs built from what an iteration of online feedback has written already, in other ways than by a score gap.

    first_errors      the first refuted sentence of a response against a confirmed one in its place (SENTINEL)
    confident_pairs   the iteration's own pairs, each with the probability that its label is right

No model is asked anything: candidates.jsonl, claims.jsonl, judgements.jsonl and pairs.jsonl are read. A claim belongs
to the sentence that has most of its words, since a splitter model does not say where it read it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import Claim
from aligners.feedback.instructions import read_instructions
from aligners.feedback.labeling import Judgement, question_id, yes_share
from aligners.feedback.pairing import with_confidence
from aligners.feedback.round import candidate_of
from aligners.feedback.splitting import Divided, divided_from_row
from aligners.preference.builders import JudgedResponse, JudgedSentence, first_error_pairs
from aligners.preference.pairs import Pair, read_pairs
from evalkit.errors import DataError
from evalkit.runs.records import read_journal
from evalkit.text.tokens import sentences

FIRST_ERROR, CONFIDENT = "first-error", "confident"
BUILDERS = (FIRST_ERROR, CONFIDENT)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Feedback:
    """What an iteration knows of its candidates; judgements by the id of their question."""

    candidates: Mapping[str, Candidate]
    divided: Mapping[str, Divided]
    judgements: Mapping[str, Judgement]

    def judged(self, candidate: Candidate) -> list[tuple[Claim, Judgement | None]]:
        """Each claim of a candidate once, with the labeler's answer if there is one."""
        claims = {claim.question: claim for claim in self.divided[candidate.id].claims}
        return [(claim, self.judgements.get(question_id(candidate, claim))) for claim in claims.values()]


def read_feedback(folder: Path) -> Feedback:
    """The journals of an iteration.

    Raises:
        DataError: if the folder is no iteration that was judged; the missing file is named.
    """
    rows = {}
    for name in ("candidates", "claims", "judgements"):
        path = folder / f"{name}.jsonl"
        if not path.is_file():
            raise DataError(f"{path} is missing: pairs are built from an iteration of `align rlaif` that was judged")
        rows[name] = {row["id"]: row for row in read_journal(path)}
    return Feedback(
        {key: candidate_of(row) for key, row in rows["candidates"].items() if row.get("text") is not None},
        {key: divided_from_row(row) for key, row in rows["claims"].items()},
        {key: Judgement(row["question"], row["p_yes"], row["p_no"]) for key, row in rows["judgements"].items()},
    )


def first_errors(folder: Path, prompts: Path, *, seed: int) -> tuple[list[Pair], dict[str, int]]:
    """`first_error_pairs` of an iteration, and its counts; `prompts` says where image paths begin."""
    feedback = read_feedback(folder)
    images = {one.id: one.folder for one in read_instructions(prompts)}
    if strange := sorted({one.prompt_id for one in feedback.candidates.values()} - images.keys()):
        raise DataError(f"{prompts} has not the prompts of {folder}, e.g. {strange[0]!r}")
    responses = [
        _spoken(candidate, feedback)
        for candidate in feedback.candidates.values()
        if candidate.id in feedback.divided and feedback.divided[candidate.id].failure is None
    ]
    pairs, counts = first_error_pairs(responses, seed=seed)
    place = {one.id: images[one.prompt_id] for one in feedback.candidates.values()}
    return [replace(pair, folder=place[pair.id.rpartition("@")[0]]) for pair in pairs], counts


def confident_pairs(folder: Path) -> list[Pair]:
    """The pairs of an iteration with meta.confidence, see `label_confidence`.

    Raises:
        DataError: if a pair is not of this iteration's candidates.
    """
    feedback = read_feedback(folder)
    chances = {
        one.id: _false_chances(feedback.judged(one))
        for one in feedback.candidates.values()
        if one.id in feedback.divided
    }
    return [with_confidence(pair, chances) for pair in read_pairs(folder / "pairs.jsonl")]


def _false_chances(judged: Sequence[tuple[Claim, Judgement | None]]) -> list[float]:
    return [1.0 - yes_share(judgement) for _, judgement in judged if judgement is not None]


def _spoken(candidate: Candidate, feedback: Feedback) -> JudgedResponse:
    """The response sentence by sentence, each with the claims whose words it has."""
    texts = [candidate.text[start:end] for start, end in sentences(candidate.text)]
    by_sentence: list[list[Judgement | None]] = [[] for _ in texts]
    for claim, judgement in feedback.judged(candidate):
        by_sentence[sentence_of(claim.text, texts)].append(judgement)
    spoken = [JudgedSentence(text, len(some), _refuted(some)) for text, some in zip(texts, by_sentence, strict=True)]
    return JudgedResponse(candidate.id, candidate.prompt_id, candidate.image, candidate.prompt, tuple(spoken))


def sentence_of(claim: str, texts: Sequence[str]) -> int:
    """Index of the sentence that shares most words with a claim, the first of several.

    >>> sentence_of("There is a red cup.", ["A dog sleeps.", "Beside it is a red cup.", "The cup is red."])
    1
    """
    words = set(_WORD.findall(claim.lower()))
    shared = [len(words & set(_WORD.findall(text.lower()))) for text in texts]
    return shared.index(max(shared))


def _refuted(judgements: Sequence[Judgement | None]) -> int | None:
    known = [one for one in judgements if one is not None]
    return None if len(known) < len(judgements) else sum(not one.confirms() for one in known)
