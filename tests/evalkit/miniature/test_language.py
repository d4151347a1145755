"""The miniature's language data: NLTK reads it, we read it as NLTK does, and a score made with it says so."""

import json
from itertools import islice
from pathlib import Path
from random import Random

import nltk.data
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.tag.perceptron import PerceptronTagger as NltkTagger
from nltk.tokenize.punkt import PunktTokenizer

from evalkit.errors import AssetError
from evalkit.miniature.captions import noisy_caption
from evalkit.miniature.language import language_folder, write_language
from evalkit.miniature.language.sentences import tagged_sentences
from evalkit.miniature.language.vocabulary import nouns, plural, verb_forms, verbs
from evalkit.miniature.lexicon import NOUNS
from evalkit.miniature.scenes import scenes_of
from evalkit.text.data import LANGUAGE_FILE, language_data
from evalkit.text.lemmas import Lemmatizer
from evalkit.text.tagger import PerceptronTagger

TAGGER = "taggers/averaged_perceptron_tagger_eng"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("language")
    write_language(made)
    return made


@pytest.fixture(autouse=True)
def nothing_else(folder, monkeypatch):
    """NLTK looks into this folder alone."""
    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    monkeypatch.setenv("NLTK_DATA", str(folder))
    monkeypatch.delenv("EVALKIT_ASSETS", raising=False)


def pointer(folder, name):
    return nltk.data.FileSystemPathPointer(str(folder / name))


def test_it_is_the_same_wherever_it_is_made(folder, tmp_path):
    write_language(tmp_path)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)


def test_a_cache_makes_it_once(tmp_path, monkeypatch):
    monkeypatch.setattr("evalkit.miniature.language._SENTENCES", 50)
    made = language_folder(tmp_path)
    (made / "kept").touch()
    assert language_folder(tmp_path) == made
    assert (made / "kept").exists()
    assert list(tmp_path.iterdir()) == [made]  # nothing half made stays behind


def test_punkt_knows_its_abbreviations():
    cut = PunktTokenizer("english").tokenize(
        "Mr. Smith waits at 5 p.m. near St. Paul. A dog sleeps, e.g. here. It barks."
    )
    assert cut == ["Mr. Smith waits at 5 p.m. near St. Paul.", "A dog sleeps, e.g. here.", "It barks."]


def test_our_tags_are_those_of_nltk(folder):
    ours, theirs = PerceptronTagger.load(pointer(folder, TAGGER)), NltkTagger()
    texts = [noisy_caption(scene, Random(0)) for scene in islice(scenes_of("validation", 5), 30)]
    texts += ["two men ride well-known horses in 1999", "Quickly , the zorbs glimmed !", ""]
    for text in texts:
        words = nltk.word_tokenize(text)
        assert ours.tag(words) == [tag for _, tag in theirs.tag(words)]


def test_the_tagger_is_right_on_sentences_it_has_not_seen(folder):
    tagger = PerceptronTagger.load(pointer(folder, TAGGER))
    sentences = list(tagged_sentences(400, Random("other")))
    pairs = [
        (truth, found)
        for sentence in sentences
        for (_, truth), found in zip(sentence, tagger.tag([word for word, _ in sentence]), strict=True)
    ]
    assert sum(truth == found for truth, found in pairs) >= 0.93 * len(pairs)


def test_every_noun_and_its_plural_have_their_entry(folder):
    lemmatizer = Lemmatizer.load(pointer(folder, "corpora/wordnet"))
    own = {name for name in nouns() if " " not in name}
    assert {noun.split()[-1] for noun in NOUNS} <= own
    assert [word for word in own if lemmatizer.lemma(word, "n") not in own] == []
    one_word = {word for word in own if plural(word) not in own}
    assert {word for word in one_word if lemmatizer.lemma(plural(word), "n") != word} == set()


def test_verbs_are_reduced_from_every_form(folder):
    lemmatizer = Lemmatizer.load(pointer(folder, "corpora/wordnet"))
    wrong = [form for verb in verbs() for form in verb_forms(verb) if lemmatizer.lemma(form, "v") not in verbs()]
    assert wrong == []


def test_nltk_reads_the_wordnet_whole(folder):
    wordnet = WordNetCorpusReader(pointer(folder, "corpora/wordnet"), None)
    dog = wordnet.synset("dog.n.01")
    assert [above.name() for above in dog.hypernyms()] == ["animal.n.01"]
    assert [top.name() for top in dog.root_hypernyms()] == ["entity.n.01"]
    assert wordnet.synset("dining_table.n.01").hypernyms()[0].name() == "furniture.n.01"
    assert wordnet.lemma_from_key(dog.lemmas()[0].key()).name() == "dog"
    for synset in wordnet.all_synsets():
        assert wordnet.synset_from_pos_and_offset(synset.pos(), synset.offset()) == synset
        assert synset.definition()


def test_it_names_itself(folder):
    name = language_data()
    assert name is not None
    assert name.startswith("miniature-")
    assert name == json.loads((folder / LANGUAGE_FILE).read_text())["name"]


def test_the_name_tells_other_content(folder, monkeypatch):
    monkeypatch.setattr("evalkit.miniature.language._ABBREVIATIONS", "mr")
    other = folder.parent / "other"
    write_language(other)
    assert json.loads((other / LANGUAGE_FILE).read_text())["name"] != language_data()


def test_data_that_does_not_name_itself_is_nltks_own(folder, monkeypatch, tmp_path):
    for name in ("tokenizers", "taggers", "corpora"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    assert language_data() is None


def test_one_part_of_it_is_enough_to_be_named(folder, monkeypatch, tmp_path):
    (tmp_path / "taggers").symlink_to(folder / "taggers")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path), str(folder)])
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    assert str(language_data()).startswith("miniature-")


@pytest.mark.parametrize("content", ["", "[]", "{}", "no"])
def test_a_name_that_cannot_be_read_is_an_error(folder, content, monkeypatch, tmp_path):
    (tmp_path / "taggers").symlink_to(folder / "taggers")
    (tmp_path / LANGUAGE_FILE).write_text(content)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path), str(folder)])
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    with pytest.raises(AssetError, match=r"language\.json"):
        language_data()


def test_a_run_made_with_it_says_so(tmp_path):
    from benchmarks import CHAIR
    from evalkit.engines.replay import ScriptedEngine
    from evalkit.harness import evaluate
    from evalkit.miniature.files import write_world

    world = write_world(Path(tmp_path) / "world", 3, 0)
    signatures = {}
    for variant in ("pos_lemma", "singularize"):
        engine = ScriptedEngine(lambda prompt, sample: "There is a dog.")
        signatures[variant] = evaluate(CHAIR.miniature(world, variant), engine, tmp_path / variant).signature
    assert f"|nltk_data:{language_data()}|" in signatures["pos_lemma"]
    assert "nltk_data" not in signatures["singularize"]  # which reads without it
