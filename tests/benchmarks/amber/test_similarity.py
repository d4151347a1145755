import json
import sys
import types

import pytest

from benchmarks.amber import similarity
from benchmarks.amber.similarity import compute, from_spacy, identity, open_similarity, read_table
from evalkit.errors import DataError

WORDS = ["TV", "tv", "television", "cat", "dog"]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


class FakeDoc:
    def __init__(self, text, values):
        self.text, self.values = text, values

    def similarity(self, other):
        return 1.0 if self.text == other.text else self.values.get(frozenset((self.text, other.text)), 0.0)


class FakeModel:
    """What `compute` needs of a spaCy model, with similarities given as a dict."""

    meta = {"lang": "en", "name": "fake_lg", "version": "9.8.7"}

    def __init__(self, values, rows=10):
        self.values, self.made = values, []
        self.vocab = types.SimpleNamespace(vectors=types.SimpleNamespace(shape=(rows, 3)))

    def make_doc(self, text):
        self.made.append(text)
        return FakeDoc(text, self.values)


CLOSE = {frozenset(("cat", "dog")): 0.81, frozenset(("TV", "dog")): 0.8, frozenset(("TV", "television")): 0.95}


def test_identity_ignores_case_alone():
    relation = identity(WORDS)
    assert relation.similar("TV") == {"TV", "tv"}
    assert relation.similar("cat") == {"cat"}
    assert relation.similar("unknown") == frozenset()
    assert relation.name == "identity"


def test_a_table_is_symmetric_reflexive_and_strictly_above_the_threshold(tmp_path):
    pairs = [["dog", "cat", 0.81], ["TV", "dog", 0.8], ["television", "TV", 0.9], ["cat", "mouse", 0.99]]
    relation = read_table(write(tmp_path / "t.json", {"pairs": pairs}), WORDS)
    assert relation.similar("cat") == {"cat", "dog"}
    assert relation.similar("dog") == {"cat", "dog"}
    assert relation.similar("television") == {"television", "TV"}
    assert relation.name.startswith("table-")


def test_the_name_of_a_table_tells_different_pairs_apart(tmp_path):
    names = {
        read_table(write(tmp_path / "t.json", {"pairs": pairs}), WORDS).name
        for pairs in ([["cat", "dog", 0.9]], [["dog", "cat", 0.85]], [["cat", "TV", 0.9]])
    }
    assert len(names) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("[1]", "expected a JSON object"),
        ({"pairs": {}}, "expected a similarity table"),
        ({"pairs": [["cat", "dog"]]}, "pair 1 must be"),
        ({"pairs": [["cat", "dog", "0.9"]]}, "pair 1 must be"),
        ({"pairs": [["cat", "dog", 0.9], ["cat", 3, 0.9]]}, "pair 2 must be"),
        ({"pairs": [], "threshold_strictly_greater_than": 0.7}, "threshold 0.7"),
        ({"pairs": [], "vocabulary": "deadbeef"}, "another vocabulary"),
        ({"pairs": [["chair", "stool", 0.9]]}, "none of its 1 pairs"),
        ({"pairs": [], "source": 3}, "'source' must be a string"),
        ({"pairs": [], "margin": "small"}, "'margin' a number"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_reason(tmp_path, content, message):
    path = write(tmp_path / "table.json", content)
    with pytest.raises(DataError, match=rf"table\.json.*{message}"):
        read_table(path, WORDS)


def test_compute_asks_the_model_for_every_pair_once_and_keeps_the_margin():
    model = FakeModel(CLOSE)
    relation = compute(model, WORDS)
    assert relation.similar("cat") == {"cat", "dog"}
    assert relation.similar("TV") == {"TV", "tv", "television"}
    assert relation.margin == 0.0  # TV - dog lies exactly on the threshold
    assert relation.name.startswith("spacy-en_fake_lg-9.8.7-")
    assert sorted(model.made) == sorted(WORDS)


def test_a_model_without_vectors_is_refused():
    with pytest.raises(DataError, match="no word vectors"):
        compute(FakeModel(CLOSE, rows=0), WORDS)


def test_a_computed_table_is_written_out_and_reads_back_the_same(tmp_path):
    relation = compute(FakeModel(CLOSE), WORDS)
    relation.write(tmp_path / "cache" / "t.json", WORDS)
    back = read_table(tmp_path / "cache" / "t.json", WORDS)
    assert back == relation
    assert back.name == relation.name
    assert json.loads((tmp_path / "cache" / "t.json").read_text())["margin"] == 0.0
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["t.json"]


@pytest.fixture
def spacy(monkeypatch):
    """A stand-in for the package: one installed model, and a count of how often it was loaded."""
    package, util = types.ModuleType("spacy"), types.ModuleType("spacy.util")
    package.loads, package.version, package.util = 0, "9.8.7", util

    def load(name):
        package.loads += 1
        if name != "en_fake_lg":
            raise OSError(f"[E050] Can't find model '{name}'")
        model = FakeModel(CLOSE)
        model.meta = {**FakeModel.meta, "version": package.version}
        return model

    package.load = load
    util.get_package_version = lambda name: package.version if name == "en_fake_lg" else None
    monkeypatch.setitem(sys.modules, "spacy", package)
    monkeypatch.setitem(sys.modules, "spacy.util", util)
    return package


def test_the_table_of_a_model_is_computed_once_per_release(tmp_path, spacy):
    first = from_spacy("en_fake_lg", WORDS, tmp_path)
    again = from_spacy("en_fake_lg", WORDS, tmp_path)
    assert first == again
    assert (first.source, first.margin, spacy.loads) == ("spacy-en_fake_lg-9.8.7", 0.0, 1)
    spacy.version = "9.9.0"
    assert from_spacy("en_fake_lg", WORDS, tmp_path).source == "spacy-en_fake_lg-9.9.0"
    from_spacy("en_fake_lg", ["cat", "dog"], tmp_path)
    assert spacy.loads == 3


def test_an_absent_model_names_the_remedies(tmp_path, spacy):
    with pytest.raises(DataError, match=r"en_core_web_lg is not installed; install it .* table:FILE .* identity"):
        open_similarity("spacy", WORDS, tmp_path)


def test_absent_spacy_names_the_remedies(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    monkeypatch.setitem(sys.modules, "spacy.util", None)
    with pytest.raises(DataError, match="spaCy is not installed; install it"):
        open_similarity("spacy:en_core_web_md", WORDS, tmp_path)


def test_sources_are_named_by_kind(tmp_path):
    write(tmp_path / "t.json", {"pairs": [["cat", "dog", 0.9]]})
    assert open_similarity("identity", WORDS, tmp_path).name == "identity"
    assert open_similarity(f"table:{tmp_path / 't.json'}", WORDS, tmp_path).similar("cat") == {"cat", "dog"}


@pytest.mark.parametrize("source", ["", "glove", "table", "table:", "identity:x"])
def test_an_unknown_source_is_refused(tmp_path, source):
    with pytest.raises(DataError, match="expected identity, table:FILE or spacy:MODEL"):
        open_similarity(source, WORDS, tmp_path)


def test_the_threshold_is_that_of_the_authors_script():
    assert similarity.THRESHOLD == 0.8
