"""The entry "adapters": does an adapter learn what full training learns, at the rate that the presets give it?

The presets give an adapter 20 times the rate of full training (RLAIF-V's scripts: 1e-5 and 5e-7). The same pairs and
the same steps, full training at its own rate, the adapter at that ratio and at the very rate of full training.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aligners.ddpo import train_dpo
from aligners.miniature.recipes.corrections import build_corrections
from aligners.miniature.recipes.ddpo import RECIPE, SETTINGS
from aligners.presets import DDPO_PAPER
from evalkit.statistics.intervals import RESAMPLES, Interval
from evalkit.statistics.resampling import resampled_sums
from tests.results.bench import opened
from tests.results.entry import BASE, Answer, Entry, Mark, Measured, Site, Train, Verdict
from tests.results.methods import reductions

GOAL = 80.0  # % of full training's fall
FULL, RATIO, EQUAL = "full", "adapter at the presets' ratio", "adapter at the full rate"
NAMES = ("hallucinated_mentions", "responses")
assert DDPO_PAPER.lora_learning_rate is not None
TIMES = DDPO_PAPER.lora_learning_rate / DDPO_PAPER.learning_rate


def trained(lora: bool, times: float = 1.0) -> Train:
    """Dense DPO on the shared pairs, with an adapter at `times` the rate of full training."""

    def train(site: Site) -> list[Mark]:
        engine = opened(site.base)
        pairs = build_corrections(engine, site.shared / "pairs", site.seed, RECIPE)
        engine.close()
        rate = SETTINGS.learning_rate * times
        settings = replace(
            SETTINGS, name="ddpo-miniature", seed=site.seed, lora=lora, lora_learning_rate=rate, merge_adapter=True
        )
        result = train_dpo(site.base, pairs, site.out, settings, data={"source": f"corrections, seed {site.seed}"})
        return [Mark(result.steps, site.out)]

    return train


def verdicts(measured: Measured) -> list[Verdict]:
    """The share of full training's fall that each adapter reaches."""
    verdicts = []
    for arm in (RATIO, EQUAL):
        seeds = measured.shared(FULL, arm)
        if not seeds:
            continue
        total = share_of_fall(measured, arm, seeds)
        each = {seed: share_of_fall(measured, arm, (seed,)).value for seed in seeds}
        claim = f"{arm}: share of full training's fall in hallucinated mentions, {GOAL:.0f} % or more"
        verdicts.append(Verdict(claim, "%", total, each, reaches(total, list(each.values()))))
    return verdicts


def reaches(total: Interval, each: Sequence[float | None]) -> Answer:
    """Whether the goal lies below the interval and below every base, or above the interval."""
    if total.low is None or total.high is None or any(value is None for value in each):
        return "cannot tell"
    if total.high < GOAL:
        return "not supported"
    return (
        "supported"
        if total.low >= GOAL and all(value >= GOAL for value in each if value is not None)
        else "cannot tell"
    )


def share_of_fall(measured: Measured, arm: str, seeds: Sequence[int]) -> Interval:
    """100 * (base - arm) / (base - full) of hallucinated mentions a response, scenes resampled for all together."""
    matrices, items = [], None
    for name in (BASE, FULL, arm):
        for seed in seeds:
            counts = measured.last(name)[seed].item_counts(NAMES)
            items = items or sorted(counts)
            matrices.append(np.array([counts[item] for item in items]))
    joined = np.hstack(matrices)

    def of(sums: np.ndarray) -> np.ndarray:
        parts = sums.reshape(len(sums), 3, len(seeds), len(NAMES))
        rates = (parts[..., 0] / parts[..., 1]).mean(axis=-1)
        return 100 * (rates[:, 0] - rates[:, 2]) / (rates[:, 0] - rates[:, 1])

    draws = of(resampled_sums(joined, RESAMPLES, np.random.default_rng(0)))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(of(joined.sum(axis=0)[None])[0]), float(low), float(high), "percentile")


ADAPTERS = Entry(
    "adapters",
    "Adapters beside full training",
    f"At the presets' ratio ({TIMES:g} times the rate) an adapter reaches {GOAL:.0f} % of what full training unlearns.",
    """Dense DPO on the same pairs for as many steps; the fall in hallucinated mentions from the base's, that of full
    training being 100 %. Rank 64, alpha 16, merged at the end.""",
    {FULL: trained(lora=False), RATIO: trained(lora=True, times=TIMES), EQUAL: trained(lora=True)},
    verdicts,
    tables=reductions,
)
