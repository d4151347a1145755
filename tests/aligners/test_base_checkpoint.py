"""The trained base of seed 0, on which the demo stands: built once per machine, then read from the cache."""

import json
from itertools import islice
from pathlib import Path

import pytest

from aligners.miniature.base import cached_base
from aligners.miniature.quality import LIMITS, MAX_PARAMETERS
from evalkit.engines.model.parity import check_parity
from evalkit.engines.transformers import TransformersEngine
from evalkit.images import ImageFile
from evalkit.miniature.drawing import render
from evalkit.miniature.scenes import scenes_of
from evalkit.schema import Prompt

IMAGES = 200
pytestmark = pytest.mark.timeout(1800)  # the first test trains the base: on a busy machine that takes many minutes


@pytest.fixture(scope="module")
def base() -> Path:
    return cached_base(0)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Descriptions and yes/no questions in turn, so that rows of unlike length share batches."""
    folder = tmp_path_factory.mktemp("images")
    found = []
    for index, scene in enumerate(islice(scenes_of("test", 77), IMAGES)):
        render(scene).save(folder / f"{index}.png")
        text = ("Please describe this image in detail.", "Is there a dog in the image?")[index % 2]
        found.append(Prompt(str(index), text, (ImageFile(folder, f"{index}.png"),)))
    return found


def test_the_base_is_small_fluent_grounded_and_hallucinates(base: Path) -> None:
    quality = json.loads((base / "quality.json").read_text())
    assert quality["parameters"] <= MAX_PARAMETERS
    for name, (low, high) in LIMITS.items():
        assert low <= quality[name] <= high, name


def test_batched_text_equals_batch_1_text_on_200_images(base: Path, prompts: list[Prompt]) -> None:
    engine = TransformersEngine(base, dtype="float32")
    report = check_parity(engine, prompts, IMAGES, batch_sizes=(8, 32))
    assert report.checked == IMAGES
    assert report.identical, "\n".join(report.lines())


def test_log_probabilities_do_not_depend_on_the_batch(base: Path, prompts: list[Prompt]) -> None:
    continuations = ["The image shows a kitchen with an apple and a cup." if i % 2 == 0 else "Yes" for i in range(24)]
    alone = TransformersEngine(base, dtype="float32", batch_size=1).logprobs(prompts[:24], continuations)
    batched = TransformersEngine(base, dtype="float32", batch_size=24).logprobs(prompts[:24], continuations)
    for one, other in zip(alone, batched, strict=True):
        assert one.token_ids == other.token_ids
        assert other.logprobs == pytest.approx(one.logprobs, abs=1e-4)
