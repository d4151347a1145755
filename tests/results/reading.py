"""The entry "facts": does a reward model read facts? Accuracy on clear and on blurred images, with and without them."""

import json

from aligners.miniature.recipes.facts import reward_model_accuracy
from evalkit.files.atomic import replace_text
from tests.results.entry import Entry, Mark, Measured, Site, Train

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


def table(measured: Measured) -> str:
    """Accuracy by base."""
    lines = [f"| base seed | {' | '.join(ARMS)} |", "|---" * (len(ARMS) + 1) + "|"]
    for seed in measured.shared(*ARMS):
        shown = []
        for name in ARMS:
            value = json.loads((measured.home(seed, name) / ACCURACY).read_text())
            shown.append(f"{value['value']:.1f} [{value['low']:.1f}, {value['high']:.1f}]")
        lines.append(f"| {seed} | {' | '.join(shown)} |")
    return "\n".join(lines)


FACTS = Entry(
    "facts",
    "Facts in the reward model",
    "A reward model that reads facts tells right from wrong where it cannot see.",
    """Which of two descriptions is of this image, the other being of a scene of the same place with as many kinds of
    things? Accuracy on held-out comparisons, %; the text alone decides half of them. Blurred: icons cannot be told
    apart. A model that sees nothing may fall below half: the wrong description is often of a scene it was trained
    on.""",
    {name: arm(*how) for name, how in ARMS.items()},
    tables=table,
)
