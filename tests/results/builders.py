"""The entry "builders": pairs built in other ways from the same feedback, and a start on corrected responses.

First errors (SENTINEL, arXiv:2507.12455), labels weighed by their confidence, and supervised training on the corrected
responses before DPO (OPA-DPO, arXiv:2501.09695), as far as builders of pairs go: see `aligners.preference.builders` for
what differs. All arms take the same number of steps of plain DPO.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from aligners.fact_rlhf.supervised import supervised_start
from aligners.feedback.built import confident_pairs, first_errors
from aligners.miniature.recipes.ddpo import SETTINGS
from aligners.miniature.recipes.rlaif import align_miniature_rlaif
from aligners.preference.builders import conversations
from aligners.preference.pairs import Pair, read_pairs
from aligners.training.settings import TrainingSettings
from evalkit.files.atomic import replace_text
from tests.results.corrections import MANY, STEPS, corrected, trained
from tests.results.entry import Entry, Mark, Measured, Site, Train, Verdict, at_equal_recall
from tests.results.labels import ONE_ROUND

GAPS, CONFIDENT, FIRST, CORRECTED, STARTED = (
    "score gaps",
    "score gaps, by confidence",
    "first errors",
    "corrections",
    "corrections, after a start on them",
)
PLAIN = replace(SETTINGS, gamma=1.0)
START = TrainingSettings(learning_rate=SETTINGS.learning_rate, lora=False, max_steps=STEPS, batch_size=32)


def feedback(site: Site) -> Path:
    """One round of the base's own feedback, which all arms on feedback read; made by the first."""
    align_miniature_rlaif(site.base, site.shared / "feedback", site.seed, recipe=ONE_ROUND)
    return site.shared / "feedback" / "iteration_1"


def gaps(site: Site) -> list[Pair]:
    """The round's own pairs."""
    return list(read_pairs(feedback(site) / "pairs.jsonl"))


def errors(site: Site) -> list[Pair]:
    """The first refuted sentence of each response against a confirmed one."""
    return first_errors(feedback(site), site.shared / "feedback" / "scenes" / "prompts.jsonl", seed=site.seed)[0]


def plain_dpo(pairs: Callable[[Site], Sequence[Pair]], **changes: object) -> Train:
    """An arm of plain DPO on pairs."""
    return lambda site: trained(pairs(site), MANY, site, replace(PLAIN, **changes))


def started(site: Site) -> list[Mark]:
    """Supervised training on the corrected responses, then DPO on the pairs."""
    pairs = corrected(site)[:MANY]
    rows = site.shared / "conversations.json"
    replace_text(rows, json.dumps(conversations(pairs)))
    settings = replace(START, seed=site.seed)
    start = supervised_start(site.base, rows, site.out / "start", settings, image_folder=pairs[0].folder)
    return trained(pairs, MANY, replace(site, base=start), PLAIN)


def verdicts(measured: Measured) -> list[Verdict | None]:
    """Each builder beside what it is built on."""
    contrasts = ((FIRST, GAPS), (CONFIDENT, GAPS), (STARTED, CORRECTED))
    return [at_equal_recall(measured, f"{one} beside {other}", one, other) for one, other in contrasts]


BUILDERS = Entry(
    "builders",
    "Other builders of pairs",
    """The first error of a response teaches more than its score does (SENTINEL); labels count by how sure they are; DPO
    does more from a start on the corrected responses (OPA-DPO).""",
    f"""CHAIR_s at equal recall, the arm that says more cut short. One round of the base's own feedback on 250 prompts,
    or {MANY} corrections; {STEPS} steps of plain DPO. The start takes as many steps before.""",
    {
        GAPS: plain_dpo(gaps),
        CONFIDENT: plain_dpo(lambda site: confident_pairs(feedback(site)), label_confidence=True),
        FIRST: plain_dpo(errors),
        CORRECTED: plain_dpo(corrected),
        STARTED: started,
    },
    verdicts,
)
