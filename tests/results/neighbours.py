"""The entry "neighbours": what stands next to what, stated in descriptions, hallucinated, corrected and rewarded.

Its bases say of every second thing or so what it is next to (`aligners.miniature.base.NEIGHBOURS`); the demo's do not,
since a tower needs more than three times as many steps to see it.
"""

from aligners.miniature.recipes.corrections import CorrectionRecipe, build_corrections
from aligners.miniature.recipes.ddpo import SETTINGS
from aligners.preference.pairs import Pair
from benchmarks.objects.scene_attributes import RELATIONS as WRONG
from tests.results.bench import opened
from tests.results.corrections import MANY, STEPS, on_rankings, trained
from tests.results.entry import BASE, Entry, Measured, Site, Train, Verdict, at_equal_recall, paired_difference

ALL, OBJECTS, REWARDED = "corrections", "corrections of objects alone", "rankings by the truth"


def corrected(site: Site, neighbours: bool) -> list[Pair]:
    """Corrections and omissions of a base; its wrong neighbours are set right, or left as they were said."""
    recipe = CorrectionRecipe(max_pairs=MANY, neighbours=neighbours)
    engine = opened(site.base)
    pairs = build_corrections(engine, site.shared / ("all" if neighbours else "objects"), site.seed, recipe)
    engine.close()
    return pairs


def on_corrections(neighbours: bool) -> Train:
    """An arm of dense DPO."""
    return lambda site: trained(corrected(site, neighbours), MANY, site, SETTINGS)


def verdicts(measured: Measured) -> list[Verdict | None]:
    """Wrong neighbours beside what leaves them alone and beside the base; hallucinated objects at equal recall."""
    contrasts = ((ALL, OBJECTS), (ALL, BASE), (REWARDED, BASE))
    return [
        *(paired_difference(measured, f"{one} beside {other}", one, other, WRONG.name) for one, other in contrasts),
        at_equal_recall(measured, f"{ALL} beside the base, objects", ALL, BASE),
    ]


def said(measured: Measured) -> str:
    """How often each arm states a neighbour: wrong ones could also become fewer because less is said."""
    lines = ["| arm | bases | neighbours stated in 100 descriptions | wrong in 100 descriptions |", "|---|---|---|---|"]
    for arm, bases, runs in measured.ends():
        rows = [counts for run in runs.values() for counts in run.counts()]
        stated, wrong = (100 * sum(row[name] for row in rows) / len(rows) for name in ("relations", "wrong_relations"))
        lines.append(f"| {arm} | {bases} | {stated:.0f} | {wrong:.1f} |")
    return "\n".join(lines)


NEIGHBOURS = Entry(
    "neighbours",
    "Neighbours stated, corrected and rewarded",
    "Corrections that set wrong neighbours right lower their share; corrections of objects alone do not.",
    f"""Wrong statements among those about two things that are there, %, paired by scene; hallucinated objects at equal
    recall. Bases of their own, whose descriptions state neighbours; {MANY} pairs, or as many as the samples of 1,200
    scenes give where the truth ranks two of them (true things minus absent ones and wrong neighbours; plain DPO);
    {STEPS} steps each.""",
    {ALL: on_corrections(True), OBJECTS: on_corrections(False), REWARDED: on_rankings(MANY)},
    verdicts,
    tables=said,
    neighbours=True,
)
