"""The entry "grpo": a reward read off the truth, through TRL's GRPO trainer, and what the policy does with its gaps.

Three rewards: CHAIR with coverage, hallucinations alone (silence is its best), and coverage alone (a list of everything
is). Length, wrong numbers and recall stand beside, as do the three methods where the entry "methods" was run.
"""

import json

from aligners.miniature.recipes.grpo import WEIGHTS, align_miniature_grpo
from aligners.rewards.chair import ChairWeights
from tests.results.bench import pooled
from tests.results.entry import BASE, Entry, Mark, Measured, Site, Train, Verdict, answer, read
from tests.results.methods import METHODS, TRAINED, along, beside_base
from tests.results.page import COLUMNS, cells

KEPT = 3
BOTH, ALONE, ALL = "CHAIR and coverage", "hallucinations alone", "coverage alone"


def rewarded(weights: ChairWeights) -> Train:
    """GRPO with these weights of the reward's parts, with policies along the way."""

    def train(site: Site) -> list[Mark]:
        card = align_miniature_grpo(site.base, site.out, site.seed, weights=weights, keep_checkpoints=KEPT)
        rollouts = int(card.cost["rollouts"])
        return [*along(site.out, "rollout", rollouts), Mark(rollouts, site.out)]

    return train


def verdicts(measured: Measured) -> list[Verdict]:
    """The reward with coverage beside the base that stops earlier."""
    runs = measured.last(BOTH)
    if not runs:
        return []
    bases = {seed: measured.last(BASE)[seed] for seed in runs}
    total = beside_base(bases, runs)
    each = {seed: beside_base({seed: bases[seed]}, {seed: run}).value for seed, run in runs.items()}
    claim = f"{BOTH} beside its base cut short"
    return [Verdict(claim, "points of CHAIR_s at equal recall", total, each, answer(total, each))]


def tables(measured: Measured) -> str:
    """What the reward's parts do over the rollouts, and the methods beside."""
    lines = [
        "| base seed | reward | rollout | hallucinated | covered, share | wrong counts | words | KL, nats a token |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for seed in measured.seeds:
        for arm in (arm for arm in measured.entry.arms if seed in measured.shared(arm)):
            rows = [json.loads(line) for line in (measured.home(seed, arm) / "training.jsonl").read_text().splitlines()]
            for row in (rows[0], rows[len(rows) // 2], rows[-1]):
                parts = [f"{row[name]:.2f}" for name in ("hallucinated", "covered", "wrong_counts", "words")]
                lines.append(f"| {seed} | {arm} | {row['step']} | {' | '.join(parts)} | {row['token_kl']:.3f} |")
    parts = ["Parts of the reward over the rollouts, a response, as sampled at temperature 1:", "\n".join(lines)]
    beside = read(METHODS, measured.bench)
    if beside is not None:
        there = [arm for arm in TRAINED if beside.last(arm)]
        rows = [f"| arm | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
        rows += [f"| {arm} | {' | '.join(cells(pooled(beside.last(arm), arm)))} |" for arm in there]
        parts += [f"The methods on bases {', '.join(map(str, beside.seeds))}:", "\n".join(rows)]
    return "\n\n".join(parts)


GRPO = Entry(
    "grpo",
    "GRPO with a verifiable reward",
    "With coverage in it, a reward read off the truth removes hallucinations that no way of stopping earlier removes.",
    """CHAIR_s beside the base's own truncation front at the policy's recall. Rewards without one of the two parts
    stand beside: length and recall show what they are best served by.""",
    {
        BOTH: rewarded(WEIGHTS),
        ALONE: rewarded(ChairWeights(covered=0.0, hallucinated=1.0, wrong_counts=0.0)),
        ALL: rewarded(ChairWeights(covered=4.0, hallucinated=0.0, wrong_counts=0.0)),
    },
    verdicts,
    tables=tables,
)
