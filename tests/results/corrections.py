"""Entries on corrected pairs: dense against plain DPO (RLHF-V, arXiv:2312.00849), and how many corrections it takes.

All arms of a base draw from the same pool of pairs and take the same number of steps; fewer pairs are seen more often.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from aligners.ddpo import train_dpo
from aligners.miniature.recipes.corrections import (
    CorrectionRecipe,
    Described,
    build_corrections,
    describe,
    image_name,
)
from aligners.miniature.recipes.ddpo import SETTINGS
from aligners.miniature.recipes.rlhf import count_mentions
from aligners.preference.pairs import Pair, read_pairs, write_pairs
from aligners.settings import DpoSettings
from evalkit.miniature.scenes import Scene, scenes_of
from tests.results.bench import opened
from tests.results.entry import Entry, Mark, Measured, Site, Train, Verdict, at_equal_recall

STEPS = 44  # of every arm: an epoch of 1,400 pairs
MANY, SOME, FEW = 1400, 400, 100


def corrected(site: Site) -> list[Pair]:
    """The pool of corrections and omissions of a base, in random order; made by the first arm."""
    engine = opened(site.base)
    pairs = build_corrections(engine, site.shared / "corrections", site.seed, CorrectionRecipe(max_pairs=MANY))
    engine.close()
    return pairs


def ranked(site: Site) -> list[Pair]:
    """Pairs of two sampled responses, ranked by the truth: true nouns minus faults."""
    folder = site.shared / "rankings"
    if (folder / "pairs.jsonl").is_file():
        return list(read_pairs(folder / "pairs.jsonl"))
    recipe = CorrectionRecipe(temperatures=(0.7, 1.0))
    scenes = list(islice(scenes_of("train", site.seed), recipe.scenes))
    engine = opened(site.base)
    responses = describe(engine, scenes, folder, site.seed, recipe)
    engine.close()
    by_scene: dict[int, list[Described]] = {}
    for one in responses:
        by_scene.setdefault(one.scene, []).append(one)
    pairs = [pair for two in by_scene.values() if len(two) == 2 for pair in ranking(*two, scenes[two[0].scene])]
    write_pairs(folder / "pairs.jsonl", pairs)
    return list(read_pairs(folder / "pairs.jsonl"))


def ranking(first: Described, second: Described, scene: Scene) -> list[Pair]:
    """One pair of two responses to a scene; none where the truth likes both as well."""
    values = []
    for one in (first, second):
        faults, true = count_mentions(one.text, scene)
        values.append(true - faults)
    if values[0] == values[1]:
        return []
    better, worse = (first, second) if values[0] > values[1] else (second, first)
    name = f"images/{image_name(first.scene)}"
    return [Pair(f"ranking-{first.scene}", name, first.prompt, better.text, worse.text, {"kind": "ranking"})]


def trained(pairs: Sequence[Pair], amount: int, site: Site, settings: DpoSettings) -> list[Mark]:
    """Train on the first pairs of a pool."""
    settings = replace(settings, max_steps=STEPS, seed=site.seed)
    result = train_dpo(site.base, pairs[:amount], site.out, settings, reference=site.out / "training")
    return [Mark(result.steps, site.out)]


def on_corrections(amount: int, **changes: object) -> Train:
    """An arm on corrected pairs."""
    return lambda site: trained(corrected(site), amount, site, replace(SETTINGS, **changes))


def on_rankings(amount: int) -> Train:
    """An arm on ranked pairs, by plain DPO: there are no corrected words."""
    return lambda site: trained(ranked(site), amount, site, replace(SETTINGS, gamma=1.0))


MEAN = {"average": True, "beta": 0.5}  # the paper's form


def dense_verdicts(measured: Measured) -> list[Verdict | None]:
    """Dense beside plain, form by form and amount by amount."""
    contrasts = {
        f"dense (gamma 5) beside plain, {MANY} pairs, sum": (f"dense {MANY}", f"plain {MANY}"),
        f"gamma 2 beside plain, {MANY} pairs, sum": (f"gamma 2 {MANY}", f"plain {MANY}"),
        f"dense beside plain, {FEW} pairs, sum": (f"dense {FEW}", f"plain {FEW}"),
        f"dense beside plain, {MANY} pairs, mean": (f"dense {MANY} mean", f"plain {MANY} mean"),
    }
    return [at_equal_recall(measured, claim, better, worse) for claim, (better, worse) in contrasts.items()]


DENSE = Entry(
    "dense",
    "Dense against plain DPO",
    "Weighting the corrected words (gamma 5) hallucinates less than plain DPO on the same pairs (RLHF-V, its Table 3).",
    f"""CHAIR_s at equal recall, the arm that says more cut short; wrong numbers and colours beside it. Equal pairs,
    equal steps ({STEPS}), for sums of log-probabilities at beta 0.1 and for their means at beta 0.5 (the paper's
    form).""",
    {
        f"plain {MANY}": on_corrections(MANY, gamma=1.0),
        f"gamma 2 {MANY}": on_corrections(MANY, gamma=2.0),
        f"dense {MANY}": on_corrections(MANY, gamma=5.0),
        f"plain {FEW}": on_corrections(FEW, gamma=1.0),
        f"dense {FEW}": on_corrections(FEW, gamma=5.0),
        f"plain {MANY} mean": on_corrections(MANY, gamma=1.0, **MEAN),
        f"dense {MANY} mean": on_corrections(MANY, gamma=5.0, **MEAN),
    },
    dense_verdicts,
    quick=True,
)


def amount_verdicts(measured: Measured) -> list[Verdict | None]:
    """More corrections, and corrections beside rankings of the same size."""
    contrasts = [
        (f"corrections {SOME}", f"rankings {SOME}"),
        (f"corrections {FEW}", f"rankings {FEW}"),
        (f"corrections {MANY}", f"corrections {FEW}"),
    ]
    return [at_equal_recall(measured, f"{one} beside {other}", one, other) for one, other in contrasts]


AMOUNT = Entry(
    "amount",
    "How many corrections",
    "Corrections do more than as many rankings, and more corrections do more (RLHF-V, its Figure 2).",
    f"""CHAIR_s at equal recall. Corrections and omissions by dense DPO beside pairs of samples that the truth ranks, by
    plain DPO, {STEPS} steps each.""",
    {
        **{f"corrections {amount}": on_corrections(amount) for amount in (FEW, SOME, MANY)},
        **{f"rankings {amount}": on_rankings(amount) for amount in (FEW, SOME)},
    },
    amount_verdicts,
)
