"""One round of online feedback: the policy's own responses become preference pairs (RLAIF-V, arXiv:2405.17220).

    instructions -> candidates.jsonl -> claims.jsonl -> judgements.jsonl -> pairs.jsonl

Every file is a stage of `aligners.training.stages`, so a killed round goes on where it was, and a round can be worked
on stage by stage, each by a process of its own that holds one model.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aligners.feedback.candidates import Candidate
from aligners.feedback.instructions import Instruction
from aligners.feedback.labeling import (
    LABELER_WORDING,
    ImageQuestion,
    Labelled,
    image_questions,
    judge_questions,
    label,
    label_statistics,
    yes_share,
)
from aligners.feedback.pairing import balance_pairs, pairs_from_scores, with_confidence
from aligners.feedback.roles import OnDemand, rest
from aligners.feedback.splitting import Splitter, divided_from_row
from aligners.preference.pairs import Pair, drop_defective, write_pairs
from aligners.settings import RlaifSettings
from aligners.training.stages import Row, Stages, content_hash
from evalkit.engines.base import Engine, identity
from evalkit.errors import StoppedError, TrainingError
from evalkit.process.interrupt import finishing_in_flight
from evalkit.process.progress import Progress
from evalkit.sampling import Sampling
from evalkit.schema import Json, Response
from evalkit.text.thoughts import STANDARD

SAMPLING = ("candidates", "claims", "judgements", "pairs")  # the stages of a round, in order
Oracle = Callable[[Candidate], tuple[int, int]]  # candidate -> (false claims, true claims), to measure a labeler
Statistics = dict[str, Json]
OWN_LABELS = "the policy itself"  # as its own labeler


@dataclass(frozen=True, slots=True)
class Round:
    """What a round works with.

    instructions   asked in this round
    preset         candidates, decoding, scores, pairs
    seed           of this round; every draw has its own from it, see `part_seed`
    policy         draws the candidates
    labeler        None: the policy itself
    splitter       divides responses into claims
    wording        how the labeler is asked, see `judge_questions`
    oracle         tells the truth about candidates where it is known; only statistics use it
    note           called with (role, its identity) before a role does its first work in this process
    """

    instructions: Sequence[Instruction]
    preset: RlaifSettings
    seed: int
    policy: OnDemand
    labeler: Engine | None
    splitter: Splitter
    wording: str = LABELER_WORDING
    oracle: Oracle | None = None
    note: Callable[[str, Json], None] = lambda role, identity: None


def part_seed(seed: int, *parts: str | int) -> int:
    """Seed of one part of a run, below 2**31."""
    digest = hashlib.sha256("\x00".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def collect_pairs(
    work: Round, stages: Stages, progress: Progress | None = None, until: str = "pairs"
) -> tuple[list[Pair], Statistics] | None:
    """The stages of a round up to one of SAMPLING; with the pairs comes what there is to say about the round.

    Returns:
        Pairs and statistics; None if `until` is an earlier stage.
    Raises:
        TrainingError: if no pair is left; the counts say at which step they were lost.
        StoppedError: after SIGINT or SIGTERM during sampling; the same call continues.
    """
    last = SAMPLING.index(until)
    candidate_rows = _candidates(work, stages, progress)
    if last == SAMPLING.index("candidates"):
        return None
    candidates = [candidate_of(row) for row in candidate_rows if row.get("text") is not None]
    if work.labeler is not None:
        rest(work.policy)  # the others may need its memory
    claim_rows = _claims(work, stages, candidates, progress)
    rest(work.splitter)
    if last == SAMPLING.index("claims"):
        return None
    divided = {row["id"]: divided_from_row(row) for row in claim_rows}
    judgement_rows = _judgements(work, stages, image_questions(candidates, divided), progress)
    rest(work.labeler)
    if last == SAMPLING.index("judgements"):
        return None
    labelled = label(
        candidates,
        divided,
        {row["id"]: row for row in judgement_rows},
        tie_confirms=work.preset.tie_confirms,
        count_repeated=work.preset.repeated_weight > 0,
    )
    begin = time.perf_counter()
    pairs, counts = make_pairs(labelled, work.preset, part_seed(work.seed, "pairs"))
    pairs = [replace(pair, folder=work.instructions[0].folder) for pair in pairs]
    statistics = {
        **_candidate_statistics(candidate_rows, claim_rows),
        **label_statistics(judgement_rows),
        **_score_statistics(labelled),
        **counts,
        **_pair_statistics(pairs),
        **(_truth(labelled, pairs, work) if work.oracle else {}),
    }
    if not pairs:
        raise TrainingError(f"{stages.folder}: no preference pair is left to train on: {_named(statistics)}")
    if "pairs" not in stages.finished:
        write_pairs(stages.folder / "pairs.jsonl", map(_absolute, pairs))
        hashed = content_hash({"chosen": pair.chosen, "rejected": pair.rejected, "id": pair.id} for pair in pairs)
        stages.finish("pairs", begin, rows=len(pairs), content=hashed)
    return pairs, statistics


def make_pairs(labelled: Sequence[Labelled], preset: RlaifSettings, seed: int) -> tuple[list[Pair], dict[str, Json]]:
    """Score, pair, draw, balance; returns pairs and how many each step left."""
    pairs, counts = pairs_from_scores(
        [one.candidate for one in labelled],
        [one.score(preset.confirmed_weight, preset.repeated_weight, soft=preset.soft_labels) for one in labelled],
        [one.judged for one in labelled],
        min_gap=preset.min_gap,
        pairs_per_image=preset.pairs_per_image,
        seed=seed,
    )
    numbers: dict[str, Json] = dict(counts)
    if preset.balance_lengths:
        pairs, balance = balance_pairs(pairs)
        numbers |= {"pairs_balanced": len(pairs), "balance_ratio": balance.ratio}
    kept, defects = drop_defective(pairs)
    if preset.label_confidence:
        chances = {one.candidate.id: [1.0 - yes_share(answer) for answer in one.judgements] for one in labelled}
        kept = [with_confidence(pair, chances) for pair in kept]
    return kept, {**numbers, "pairs_defective": sum(defects.values()), "pairs": len(kept)}


# --- candidates ---------------------------------------------------------------------------------------------------


def _candidates(work: Round, stages: Stages, progress: Progress | None) -> list[Row]:
    preset = work.preset
    sampling = Sampling(
        temperature=preset.temperature,
        top_p=preset.top_p,
        top_k=preset.top_k,
        max_new_tokens=preset.max_new_tokens,
        n=preset.candidates,
        seed=part_seed(work.seed, "candidates"),
    )
    keys = [_key(row.id, sample) for row in work.instructions for sample in range(sampling.n)]
    return stages.rows("candidates", keys, lambda missing: _sampled(work, sampling, missing, stages.folder), progress)


def _claims(work: Round, stages: Stages, candidates: Sequence[Candidate], progress: Progress | None) -> list[Row]:
    def divide(missing: set[str]) -> Iterator[Row]:
        work.note("splitter", dict(work.splitter.describe()))
        for divided in work.splitter.split([one for one in candidates if one.id in missing]):
            yield divided.as_row()

    return stages.rows("claims", [candidate.id for candidate in candidates], divide, progress)


def _judgements(
    work: Round, stages: Stages, questions: Sequence[ImageQuestion], progress: Progress | None
) -> list[Row]:
    by_id = {instruction.id: instruction for instruction in work.instructions}

    def judge(missing: set[str]) -> Iterator[Row]:
        labeler = work.labeler or work.policy
        work.note("labeler", OWN_LABELS if work.labeler is None else identity(work.labeler))
        asked = [question for question in questions if question.id in missing]
        return judge_questions(labeler, asked, lambda one, text: by_id[one.prompt_id].ask(text, one.id), work.wording)

    return stages.rows("judgements", [question.id for question in questions], judge, progress)


def _sampled(work: Round, sampling: Sampling, missing: set[str], folder: Path) -> Iterator[Row]:
    by_id = {row.id: row for row in work.instructions}
    pending = [row for row in work.instructions if any(_key(row.id, sample) in missing for sample in range(sampling.n))]
    engine = work.policy
    work.note("policy", identity(engine))
    with finishing_in_flight(engine.stop) as interrupted:
        for response in engine.generate([row.ask() for row in pending], sampling):
            yield _candidate_row(by_id[response.prompt_id], response, sampling)
            missing.discard(_key(response.prompt_id, response.sample))
        if missing and interrupted():
            raise StoppedError(f"{folder}: stopped while sampling candidates; rerun the same command to resume")


def _key(prompt_id: str, sample: int) -> str:
    return f"{prompt_id}#{sample}"


def _candidate_row(instruction: Instruction, response: Response, sampling: Sampling) -> Row:
    """A line of candidates.jsonl: the answer is what is divided, judged and paired, its thoughts are kept beside it."""
    said = None if response.text is None else STANDARD.take_off(response.text)
    thoughtful = said is not None and said.had_thought
    return {
        "id": _key(instruction.id, response.sample),
        "prompt_id": instruction.id,
        "image": instruction.image,
        "prompt": instruction.prompt,
        "sample": response.sample,
        "text": None if said is None else said.answer,
        "failure": response.failure if said is None else said.failure,
        **({"raw": response.text} if thoughtful else {}),
        "finish": response.finish,
        "tokens": response.tokens,
        "seed": sampling.seed_for(instruction.id, response.sample),
    }


def candidate_of(row: Mapping[str, Any]) -> Candidate:
    """Read back a line of candidates.jsonl."""
    return Candidate(row["id"], row["prompt_id"], row["image"], row["prompt"], row["text"], row["sample"])


def _absolute(pair: Pair) -> Pair:
    return pair if pair.image is None else replace(pair, image=str(pair.folder / pair.image))


# --- statistics ---------------------------------------------------------------------------------------------------


def _candidate_statistics(candidates: Sequence[Row], claims: Sequence[Row]) -> Statistics:
    texts = [row["text"] for row in candidates if row["text"] is not None]
    return {
        "failures": len(candidates) - len(texts),
        "empty": sum(not text.strip() for text in texts),
        "cut": sum(row["finish"] == "length" for row in candidates),
        "distinct": len({(row["prompt_id"], row["text"]) for row in candidates if row["text"] is not None}),
        "mean_words": _mean([len(text.split()) for text in texts]),
        "claims": sum(len(row["claims"]) for row in claims),
        "splitter_failures": sum(row["failure"] is not None for row in claims),
    }


def _score_statistics(labelled: Sequence[Labelled]) -> Statistics:
    return {
        "mean_score": _mean([score for one in labelled if (score := one.score()) is not None]),
        "mean_confirmed": _mean([one.confirmed for one in labelled if one.confirmed is not None]),
    }


def _pair_statistics(pairs: Sequence[Pair]) -> Statistics:
    return {
        "mean_chosen_words": _mean([len(pair.chosen.split()) for pair in pairs]),
        "mean_rejected_words": _mean([len(pair.rejected.split()) for pair in pairs]),
    }


def _truth(labelled: Sequence[Labelled], pairs: Sequence[Pair], work: Round) -> Statistics:
    """Pairs whose chosen response truly scores higher; candidates whose count of refuted claims is the true one."""
    assert work.oracle is not None
    truth = {one.candidate.id: work.oracle(one.candidate) for one in labelled}
    score = {
        one.candidate.id: work.preset.confirmed_weight * true - false - work.preset.repeated_weight * one.repeated
        for one in labelled
        for false, true in [truth[one.candidate.id]]
    }
    ends = [pair.id.split(">") for pair in pairs]
    checked = [one for one in labelled if one.refuted is not None]
    return {
        "pair_precision": _mean([score[chosen] > score[rejected] for chosen, rejected in ends]),
        "label_agreement": _mean([one.refuted == truth[one.candidate.id][0] for one in checked]),
        "true_score": _mean([-truth[one.candidate.id][0] for one in checked]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _named(statistics: Mapping[str, Json]) -> str:
    steps = ("candidates", "failures", "empty", "claims", "splitter_failures", "questions", "scored")
    counted = [name for name in statistics if name.startswith("pairs")]
    return ", ".join(f"{name} {statistics[name]}" for name in (*steps, *counted))
