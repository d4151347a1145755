"""The experiment on facts: comparisons that the text does not decide, the degraded view, the four runs of a seed."""

from itertools import islice

import numpy as np
import pytest
from PIL import Image

from aligners.fact_rlhf.files import read_comparisons
from aligners.miniature.model import build_model, build_processor
from aligners.miniature.recipes.facts import blurred, reward_model_accuracy, write_descriptions
from aligners.miniature.recipes.rlhf import count_mentions
from aligners.training.checkpoint import save_checkpoint
from evalkit.images import ImageFile
from evalkit.miniature.lexicon import find_nouns
from evalkit.miniature.scenes import scenes_of

SCENES, SEED = 120, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Comparisons of some scenes."""
    found = tmp_path_factory.mktemp("data")
    write_descriptions(found, SEED, SCENES)
    return found


def test_the_preferred_description_is_of_this_scene_and_the_other_of_one_alike(folder):
    scenes = list(islice(scenes_of("train", 9_000_000 + SEED), SCENES))
    rows = read_comparisons(folder / "comparisons.json", folder / "images")
    assert len(rows) > SCENES / 2
    for row in rows:
        scene = scenes[int(row.image.name[6:12])]
        preferred, other = (row.responses[k] for k in (row.preference, 1 - row.preference))
        assert count_mentions(preferred, scene) == (0, len(scene.nouns))
        assert count_mentions(other, scene)[0] > 0
        assert len(find_nouns(other)) == len(find_nouns(preferred))
        assert scene.place in preferred
        assert scene.place in other
    assert {row.preference for row in rows} == {0, 1}


def test_the_degraded_view_hides_shapes(tmp_path):
    pixels = np.zeros((224, 224, 3), dtype=np.uint8)
    pixels[::16] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    seen = np.asarray(blurred(ImageFile(tmp_path, "a.png")), dtype=float)
    assert seen.shape == pixels.shape
    assert seen[64:160, 64:160].std() < 0.1 * pixels.std()


def test_the_runs_of_a_seed_measure_with_and_without_facts_on_the_same_comparisons(folder, tmp_path):
    """A base before any training: it says nothing sensible, but has the right form."""
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0), processor, tmp_path)
    with_facts, without = (
        reward_model_accuracy(tmp_path, SEED, facts, degraded=True, data=folder) for facts in (True, False)
    )
    assert with_facts.pairs == without.pairs
    assert with_facts.held_out == without.held_out > 0
    assert with_facts.no_facts is not None
    assert without.no_facts is None
