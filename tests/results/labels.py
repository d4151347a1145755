"""Entries on feedback of the policy's own: the release beside the recipe, rounds beside one pass, and labels that err.

RLAIF-V (arXiv:2405.17220). The arms of an entry see the same scenes; their first responses are the same too.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import ImageFilter

from aligners.miniature.recipes.rlaif import RECIPE, align_miniature_rlaif, write_scenes
from aligners.presets import RLAIFV
from aligners.settings import RlaifSettings
from evalkit.engines.base import Choices, Engine, TokenLogprobs
from evalkit.errors import EngineError
from evalkit.images import ImageFile
from evalkit.miniature.lexicon import find_nouns
from evalkit.miniature.scenes import Scene
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response
from tests.results.bench import opened
from tests.results.entry import Entry, Mark, Measured, Site, Train, Verdict, at_equal_recall, no_worse

ROUNDS, PROMPTS, STEPS = 3, 150, 15  # of the entry on rounds: of equal size, of equal steps
ONE_ROUND = replace(RECIPE, name="rlaif-miniature-one-round", iterations=1)
BLUR = 8.0  # pixels: what POPE's pictures are out of focus here


class Chooser:
    """The rest of an engine that does `choices` alone, which is all that a labeler is asked for."""

    name: str

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Refused."""
        raise EngineError(f"{self.name}: a labeler writes no responses")

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        """Refused."""
        raise EngineError(f"{self.name}: a labeler gives no log-probabilities of texts")

    def stop(self) -> None:
        """Nothing runs."""


class Labeler(Chooser):
    """A labeler that knows the scenes and errs in a share of its answers; implements `choices` of an engine.

    Args:
        scenes: image name -> scene.
        wrong: share of the questions it answers wrongly, the same ones whenever they are asked.
    """

    def __init__(self, scenes: Mapping[str, Scene], wrong: float) -> None:
        self.name = f"truth, {wrong:.0%} wrong"
        self._scenes, self._wrong = scenes, wrong

    def describe(self) -> Mapping[str, Json]:
        """What it is."""
        return {"engine": "truth", "wrong": self._wrong}

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """Certain answers."""
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Choices:
        (image,), (mention,) = prompt.images, find_nouns(prompt.text)
        truth = mention.noun in self._scenes[f"images/{Path(image.name).name}"].nouns
        said = truth != (random.Random(f"{image.name}:{prompt.text}").random() < self._wrong)
        return Choices((1.0, 0.0), "Yes") if said else Choices((0.0, 1.0), "No")


class OutOfFocus(Chooser):
    """An engine that is shown blurred copies of the images: a labeler that sees worse than the policy.

    Args:
        engine: answers.
        folder: gets the copies.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.name, self._engine, self._folder = f"{engine.name}, out of focus", engine, folder

    def describe(self) -> Mapping[str, Json]:
        """The engine's description, and the blur."""
        return {**self._engine.describe(), "blur": BLUR}

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """The engine's answers about the copies."""
        return self._engine.choices([self._blurred(prompt) for prompt in prompts], groups)

    def _blurred(self, prompt: Prompt) -> Prompt:
        self._folder.mkdir(parents=True, exist_ok=True)
        names = [Path(image.name).name for image in prompt.images]
        for name, image in zip(names, prompt.images, strict=True):
            if not (self._folder / name).exists():
                image.open().filter(ImageFilter.GaussianBlur(BLUR)).save(self._folder / name, compress_level=1)
        return replace(prompt, images=tuple(ImageFile(self._folder, name) for name in names))


def own(recipe: RlaifSettings) -> Train:
    """An arm whose policy labels itself."""

    def train(site: Site) -> list[Mark]:
        result = align_miniature_rlaif(site.base, site.out, site.seed, recipe=recipe)
        earlier = [Mark(n, site.out / f"iteration_{n}" / "checkpoint") for n in range(1, len(result.iterations))]
        return [*earlier, Mark(len(result.iterations), site.out)]

    return train


def erring(wrong: float) -> Train:
    """An arm that is labelled by the truth, a share of it turned round."""

    def train(site: Site) -> list[Mark]:
        _, scenes = write_scenes(site.out / "scenes", ONE_ROUND.prompts_per_round, site.seed)
        align_miniature_rlaif(site.base, site.out, site.seed, recipe=ONE_ROUND, labeler=Labeler(scenes, wrong))
        return [Mark(1, site.out)]

    return train


def out_of_focus(site: Site) -> list[Mark]:
    """An arm that the base labels, shown blurred images."""
    engine = opened(site.base)
    labeler = OutOfFocus(engine, site.out / "blurred")
    align_miniature_rlaif(site.base, site.out, site.seed, recipe=ONE_ROUND, labeler=labeler)
    engine.close()
    return [Mark(1, site.out)]


NOISE = Entry(
    "noise",
    "Labels that err",
    "A policy's own labels train it as well as the truth would (the self-alignment of RLAIF-V); wrong labels cost.",
    """CHAIR_s at equal recall after one round of 250 prompts. Labelers: the truth, the truth with 10, 20 and 30 % of
    its answers turned round, the policy itself, and the policy shown pictures out of focus.""",
    {
        "truth": erring(0.0),
        "10 % wrong": erring(0.1),
        "20 % wrong": erring(0.2),
        "30 % wrong": erring(0.3),
        "its own": own(ONE_ROUND),
        "out of focus": out_of_focus,
    },
    lambda measured: [
        no_worse(measured, "its own labels are no worse than the truth", "its own", "truth"),
        at_equal_recall(measured, "the truth beside 30 % wrong labels", "truth", "30 % wrong"),
        at_equal_recall(measured, "its own labels beside those out of focus", "its own", "out of focus"),
    ],
)

_EQUAL = replace(RECIPE, name="rlaif-miniature-rounds", iterations=ROUNDS, prompts_per_round=PROMPTS, max_steps=STEPS)
_SINGLE = replace(
    _EQUAL, name="rlaif-miniature-one-pass", iterations=1, prompts_per_round=ROUNDS * PROMPTS, max_steps=ROUNDS * STEPS
)

ITERATIVE = Entry(
    "rounds",
    "Rounds against one pass",
    "Feedback on the current policy's responses does more than as much feedback on the base's (RLAIF-V, its Figure 3).",
    f"CHAIR_s at equal recall: {ROUNDS} rounds of {PROMPTS} prompts beside one pass over {ROUNDS * PROMPTS}, "
    f"{ROUNDS * STEPS} steps of 32 pairs each.",
    {"rounds": own(_EQUAL), "one pass": own(_SINGLE)},
    lambda measured: [at_equal_recall(measured, "rounds beside one pass", "rounds", "one pass")],
)

_RELEASED = replace(
    RECIPE,
    name="rlaifv-released-form",
    iterations=2,
    **{
        name: getattr(RLAIFV, name)
        for name in (
            *("min_gap", "pairs_per_image", "tie_confirms", "confirmed_weight", "repeated_weight", "soft_labels"),
            *("balance_lengths", "nll_weight", "epochs", "temperature", "candidates"),
        )
    },
)


def words_verdict(measured: Measured) -> list[Verdict | None]:
    """The release beside the recipe."""
    return [at_equal_recall(measured, "the recipe beside the form of the release", "recipe", "as released")]


RELEASED = Entry(
    "released",
    "RLAIF as released beside the recipe",
    "Counting refuted claims alone teaches to say less; the recipe here, which credits confirmed claims, does not.",
    "CHAIR_s at equal recall after two rounds of 250 prompts; recall and length beside it. As released: hard labels,\n"
    "refuted claims alone, length balance, two pairs an image, no likelihood term, four epochs.",
    {"as released": own(_RELEASED), "recipe": own(replace(RECIPE, iterations=2))},
    words_verdict,
)
