"""Both published CHAIR variants read the miniature world's captions without loss."""

from itertools import islice
from random import Random

import pytest

from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Vocabulary, read_synonyms
from evalkit.miniature.captions import noisy_caption, true_caption
from evalkit.miniature.lexicon import COLOURS_OF, NOUNS, find_nouns, plural, synonyms_text, with_article
from evalkit.miniature.scenes import scenes_of


@pytest.fixture(scope="module", params=["pos_lemma", "singularize"])
def finder(request, tmp_path_factory):
    table = tmp_path_factory.mktemp("words") / "synonyms.txt"
    table.write_text(synonyms_text())
    return MentionFinder(Vocabulary(read_synonyms(table), CHAIR_DOUBLE_WORDS), request.param)


def objects_in(finder, text):
    return {mention.object for mention in finder.find(text).mentions}


@pytest.mark.parametrize("noun", NOUNS)
def test_each_noun_is_found_alone_and_in_pairs(finder, noun):
    for colour in ("", *(f"{colour} " for colour in COLOURS_OF.get(noun, ()))):
        assert objects_in(finder, f"There is {with_article(colour + noun)}.") == {noun}
        assert objects_in(finder, f"You can also see two {colour}{plural(noun)}.") == {noun}


@pytest.mark.parametrize("write", [true_caption, noisy_caption])
def test_captions_mean_the_same_to_the_scorer_and_to_the_world(finder, write):
    for number, scene in enumerate(islice(scenes_of("validation", 2), 200)):
        caption = write(scene, Random(number))
        assert objects_in(finder, caption) == {mention.noun for mention in find_nouns(caption)}
