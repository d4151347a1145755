"""The entry "facts": does a reward model read facts? Accuracy on clear and on blurred images, with and without them."""

import json
import math

from aligners.miniature.recipes.facts import reward_model_accuracy
from evalkit.files.atomic import replace_text
from evalkit.statistics.intervals import Interval
from tests.results.entry import Entry, Mark, Measured, Site, Train, Verdict, answer

ACCURACY = "accuracy.json"
ARMS = {
    "clear, without facts": (False, False),
    "clear, with facts": (True, False),
    "blurred, without facts": (False, True),
    "blurred, with facts": (True, True),
}


def arm(facts: bool, degraded: bool) -> Train:
    """A reward model; there is no policy to score."""

    def train(site: Site) -> list[Mark]:
        model = reward_model_accuracy(site.base, site.seed, facts, degraded, data=site.shared / "data")
        site.out.mkdir(parents=True, exist_ok=True)
        replace_text(site.out / ACCURACY, json.dumps(model.accuracy.as_dict()) + "\n")
        return []

    return train


def accuracy(measured: Measured, seed: int, arm: str) -> Interval:
    """Of the reward model of an arm, percent."""
    return Interval(**json.loads((measured.home(seed, arm) / ACCURACY).read_text()))


def table(measured: Measured) -> str:
    """Accuracy by base."""
    lines = [f"| base seed | {' | '.join(ARMS)} |", "|---" * (len(ARMS) + 1) + "|"]
    for seed in measured.shared(*ARMS):
        lines.append(f"| {seed} | {' | '.join(accuracy(measured, seed, arm).text() for arm in ARMS)} |")
    return "\n".join(lines)


def verdicts(measured: Measured) -> list[Verdict]:
    """What is lost without facts where nothing can be seen.

    The two accuracies are taken as independent, though both are of the same comparisons: the interval is too wide.
    """
    seeds = measured.shared(*ARMS)
    if not seeds:
        return []
    judged = []
    for sight in ("blurred", "clear"):
        each, variance = {}, 0.0
        for seed in seeds:
            without, with_facts = (accuracy(measured, seed, f"{sight}, {how} facts") for how in ("without", "with"))
            each[seed] = without.value - with_facts.value
            variance += sum(((one.high - one.low) / 2) ** 2 for one in (without, with_facts))
        mean, half = sum(each.values()) / len(seeds), math.sqrt(variance) / len(seeds)
        total = Interval(mean, mean - half, mean + half, "normal")
        judged.append(
            Verdict(f"{sight}, without facts beside with them", "points of accuracy", total, each, answer(total, each))
        )
    return judged


FACTS = Entry(
    "facts",
    "Facts in the reward model",
    "A reward model that reads facts tells right from wrong where it cannot see.",
    """Which of two descriptions is of this image, the other being of a scene of the same place with as many kinds of
    things? Accuracy on held-out comparisons, %; the text alone decides half of them. Blurred: icons cannot be told
    apart. A model that sees nothing may fall below half: the wrong description is often of a scene it was trained
    on.""",
    {name: arm(*how) for name, how in ARMS.items()},
    verdicts,
    tables=table,
)
