"""Whether hallucinations can be told without the image: planted tells are found, honest captions pass."""

from itertools import islice
from random import Random

import numpy as np
import pytest

from aligners.miniature.tells import (
    MAX_RULE_ADVANTAGE,
    MAX_TEXT_ADVANTAGE,
    auc,
    check_tells,
    find_tells,
    rates,
    truncation_front,
)
from evalkit.errors import TrainingError
from evalkit.miniature.captions import correct, noisy_caption, split_sentences
from evalkit.miniature.lexicon import with_article
from evalkit.miniature.scenes import scenes_of

SCENES = list(islice(scenes_of("validation", 3), 300))


def honest(seed=0):
    rng = Random(seed)
    return [noisy_caption(scene, rng) for scene in SCENES]


def told_by(opening):
    """Captions in which every absent noun stands in a last sentence of its own, with its own opening."""
    rng = Random(0)
    captions = []
    for scene in SCENES:
        text = correct(noisy_caption(scene, rng), scene)
        absent = [noun for noun in scene.absent_expected if rng.random() < 0.5]
        captions.append(" ".join([text, *(f"{opening} {with_article(noun)}." for noun in absent)]))
    return captions


def test_the_worlds_own_captions_have_no_tells():
    tells = find_tells(SCENES, honest())
    assert tells.text_auc <= tells.objects_auc + MAX_TEXT_ADVANTAGE
    assert tells.rule_advantage <= MAX_RULE_ADVANTAGE
    check_tells(tells)


def test_an_opening_that_only_false_mentions_have_is_found_by_classifier_and_rule():
    tells = find_tells(SCENES, told_by("In the background, there is"))
    assert tells.rule_advantage > MAX_RULE_ADVANTAGE
    assert tells.text_auc > tells.objects_auc + MAX_TEXT_ADVANTAGE
    with pytest.raises(TrainingError, match="text tells"):
        check_tells(tells)


def test_false_mentions_at_the_end_are_found():
    assert find_tells(SCENES, told_by("There is")).rule_advantage > MAX_RULE_ADVANTAGE


def test_the_front_ends_at_the_whole_captions_and_starts_at_nothing():
    captions = honest()
    front = truncation_front(SCENES, captions)
    assert front[0] == (0.0, 0.0)
    assert front[-1] == rates(SCENES, captions)
    assert len(front) == max(len(split_sentences(text)) for text in captions) + 1
    assert [recall for recall, _ in front] == sorted(recall for recall, _ in front)


@pytest.mark.parametrize(
    ("scores", "expected"), [([0.0, 1.0], 1.0), ([1.0, 0.0], 0.0), ([0.5, 0.5], 0.5), ([2.0, 2.0], 0.5)]
)
def test_area_under_the_curve(scores, expected):
    assert auc(np.array(scores), np.array([False, True])) == expected


def test_captions_without_a_false_mention_pass():
    tells = find_tells(SCENES, [correct(text, scene) for text, scene in zip(honest(), SCENES, strict=True)])
    assert np.isnan(tells.text_auc)
    check_tells(tells)
