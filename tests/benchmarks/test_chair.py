"""CHAIR's counts and metrics, and the benchmark over files."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import chair
from benchmarks.chair import CHAIR, finished_part, score_caption
from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Vocabulary
from evalkit.benchmark import Benchmark, Judged
from evalkit.errors import AssetError, DataError, UsageError
from evalkit.schema import Response, Sample

SYNONYMS = {"dog": "dog", "puppy": "dog", "cat": "cat", "couch": "couch", "hot dog": "hot dog"}
FINDER = MentionFinder(Vocabulary(SYNONYMS, CHAIR_DOUBLE_WORDS), "singularize")


@pytest.mark.parametrize(
    ("response", "reference", "counts"),
    [
        # response, hallucinated response, mentions, hallucinated mentions, covered, reference objects, words
        ("A dog, a puppy and a cat.", ["dog", "couch"], (1, 1, 3, 1, 1, 2, 9)),
        ("A hot dog.", ["hot dog"], (1, 0, 1, 0, 1, 1, 3)),
        ("Cats, cats, cats", [], (1, 1, 3, 3, 0, 0, 5)),
        ("Grass.", ["dog"], (1, 0, 0, 0, 0, 1, 2)),
        ("", ["dog"], (1, 0, 0, 0, 0, 1, 0)),
        ("", [], (1, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_counts_of_a_response(response, reference, counts):
    score = score_caption(response, reference, FINDER)
    names = "responses hallucinated_responses mentions hallucinated_mentions covered_objects reference_objects words"
    assert score.counts == dict(zip(names.split(), counts, strict=True))


def test_findings_show_every_mention_and_its_category():
    score = score_caption("A puppy and a cat.", ["dog"], FINDER)
    assert [(f.start, f.end, f.label, f.note) for f in score.findings] == [
        (2, 7, "correct", "dog"),
        (14, 17, "hallucinated", "cat"),
    ]
    assert score.details == {"mentions": [["puppy", "dog"], ["cat", "cat"]], "missed_objects": []}


def test_metrics_are_ratios_of_sums():
    result = CHAIR.evaluate(
        {1: "a dog and a cat", 2: "a dog", 3: "nothing"},
        {1: ["dog"], 2: ["dog", "couch"], 3: ["cat"], 4: ["unused"]},
        SYNONYMS,
        "singularize",
    )
    assert result.metrics == {
        "chair_s": pytest.approx(100 / 3),
        "chair_i": pytest.approx(100 / 3),
        "recall": pytest.approx(50),
        "length": pytest.approx(8 / 3),
    }


def test_empty_denominators_give_no_value():
    result = CHAIR.evaluate({1: "nothing"}, {1: []}, SYNONYMS, "singularize")
    assert result.metrics == {"chair_s": 0.0, "chair_i": None, "recall": None, "length": 1.0}
    assert set(CHAIR.evaluate({}, {}, SYNONYMS, "singularize").metrics.values()) == {None}


def test_a_response_without_reference_is_an_error():
    with pytest.raises(DataError, match=r"1 of 2 image ids are not in the references: 2"):
        CHAIR.evaluate({1: "a", 2: "b"}, {1: []}, SYNONYMS, "singularize")


OBJECTS = st.lists(st.sampled_from(["dog", "cat", "couch"]), max_size=5)


@given(named=OBJECTS, reference=st.sets(st.sampled_from(["dog", "cat", "couch"])))
def test_one_more_hallucinated_mention_never_scores_better(named, reference):
    text = " ".join(named)
    before = score_caption(text, reference, FINDER).counts
    after = score_caption(f"{text} unicorn hot dog", reference, FINDER).counts
    assert after["hallucinated_mentions"] == before["hallucinated_mentions"] + 1
    assert after["hallucinated_responses"] == 1
    assert after["covered_objects"] == before["covered_objects"]


@pytest.mark.parametrize(
    ("response", "finished"),
    [
        ("A dog. A cat", "A dog."),
        ("A dog. A cat.", "A dog. A cat."),
        ('He said "stop." And th', 'He said "stop."'),
        ("3.5 dogs and", ""),
        ("", ""),
        ("Really?! Ye", "Really?!"),
    ],
)
def test_an_unfinished_last_sentence_can_be_dropped(response, finished):
    assert finished_part(response) == finished


@pytest.fixture
def world(tmp_path: Path, monkeypatch):
    """Two images in COCO's file formats."""
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    for name in ("annotations", "images"):
        (tmp_path / name).mkdir()
    images = [{"id": number, "file_name": f"COCO_mini_{number:012d}.png"} for number in (5, 7)]
    for image in images:
        (tmp_path / "images" / image["file_name"]).touch()
    instances = {
        "images": images,
        "annotations": [{"image_id": 5, "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (tmp_path / "annotations" / "instances_mini.json").write_text(json.dumps(instances))
    captions = {"annotations": [{"image_id": 7, "caption": "A cat on a couch."}]}
    (tmp_path / "annotations" / "captions_mini.json").write_text(json.dumps(captions))
    (tmp_path / "synonyms.txt").write_text("dog, puppy\ncat\ncouch\n")
    (tmp_path / "image_ids.json").write_text("[7, 5]")
    return tmp_path


def test_items_of_a_world_ascend_whatever_the_order_of_the_list(world):
    benchmark: Benchmark = CHAIR.miniature(world, "singularize")
    items = benchmark.items()
    assert [(item.id, item.reference["objects"], item.image.name) for item in items] == [
        ("5", ["dog"], "COCO_mini_000000000005.png"),
        ("7", ["cat", "couch"], "COCO_mini_000000000007.png"),
    ]
    prompt = benchmark.prompt(items[0])
    assert (prompt.id, prompt.text, prompt.images) == ("5", chair.QUESTION, (items[0].image,))
    assert benchmark.score(items[0], "A dog and a cat").counts["hallucinated_mentions"] == 1
    assert benchmark.official([]) is not None
    assert not isinstance(benchmark, Judged)


def test_a_ready_reference_file_gives_the_same_items(world):
    built = CHAIR.miniature(world, "singularize")
    path = world / "gt.json"
    path.write_text(json.dumps({item.id: item.reference["objects"] for item in built.items()}))
    ready = CHAIR(world / "synonyms.txt", references=path, image_ids=world / "image_ids.json", variant="singularize")
    assert [(i.id, i.reference) for i in ready.items()] == [(i.id, i.reference) for i in built.items()]
    assert ready.settings()["data"] == "ready"
    assert ready.settings()["references"] != built.settings()["references"]


def test_without_images_every_known_image_is_an_item(world):
    path = world / "gt.json"
    path.write_text(json.dumps({str(number): [] for number in range(600)}))
    benchmark = CHAIR(world / "synonyms.txt", references=path, variant="singularize")
    assert len(benchmark.items()) == 600
    assert benchmark.prompt(benchmark.items()[0]).images == ()


def test_without_a_list_the_seed_draws_the_ids(world):
    def drawn(seed):
        benchmark = CHAIR(
            world / "synonyms.txt",
            world / "annotations",
            images=world / "images",
            splits=["mini"],
            sample=1,
            sample_seed=seed,
            variant="singularize",
        )
        return benchmark.items()[0].id

    assert {drawn(seed) for seed in range(8)} == {"5", "7"}
    assert drawn(3) == drawn(3)


def test_an_id_that_is_unknown_is_an_error(world):
    (world / "image_ids.json").write_text("[7, 8]")
    with pytest.raises(DataError, match=r"1 of 2 image ids are not in .*: 8"):
        CHAIR.miniature(world, "singularize").items()


def test_a_missing_image_is_an_error(world):
    (world / "images" / "COCO_mini_000000000005.png").unlink()
    with pytest.raises(DataError, match="image 5 is not in"):
        CHAIR.miniature(world, "singularize").items()


def test_settings_name_what_moves_a_score(world):
    base = CHAIR.miniature(world, "singularize").settings()
    assert base["variant"] == "singularize"
    assert CHAIR.miniature(world, "pos_lemma").variant == "pos_lemma"
    (world / "synonyms.txt").write_text("dog, puppy, hound\ncat\ncouch\n")
    changed = CHAIR.miniature(world, "singularize").settings()
    assert {key for key in base if base[key] != changed[key]} == {"synonyms"}
    (world / "annotations" / "captions_mini.json").write_text('{"annotations": []}')
    after = CHAIR.miniature(world, "singularize").settings()
    assert {key for key in changed if changed[key] != after[key]} == {"references"}


@pytest.mark.parametrize(
    ("variant", "libraries"),
    [("pos_lemma", ["nltk", "nltk_data"]), ("singularize", ["nltk"])],
)
def test_nltk_cuts_tokens_in_both_variants_and_its_data_is_read_in_one(world, variant, libraries):
    assert list(CHAIR.miniature(world, variant).libraries()) == libraries


def test_unfinished_sentences_are_dropped_on_request(world):
    benchmark = CHAIR(
        world / "synonyms.txt",
        world / "annotations",
        splits=["mini"],
        variant="singularize",
        unfinished="drop",
    )
    item = next(item for item in benchmark.items() if item.id == "5")
    assert benchmark.score(item, "A dog. A cat").counts["hallucinated_mentions"] == 0


def test_official_figures_are_fractions_of_the_scored_samples(world):
    benchmark = CHAIR.miniature(world, "singularize")
    items = benchmark.items()
    samples = [
        Sample(item, benchmark.prompt(item), Response(item.id, "a dog"), benchmark.score(item, "a dog"))
        for item in items
    ]
    assert benchmark.official(samples) == {"CHAIRs": 0.5, "CHAIRi": 0.5, "Recall": pytest.approx(1 / 3), "Len": 0.02}


@pytest.mark.parametrize(
    "options", [{}, {"references": Path("b"), "sample": 0}, {"references": Path("b"), "variant": "stem"}]
)
def test_contradictory_options_are_an_error(world, options):
    with pytest.raises(UsageError):
        CHAIR(world / "synonyms.txt", **options)


def test_the_official_table_is_the_default(world, monkeypatch):
    monkeypatch.delenv("EVALKIT_ASSETS", raising=False)
    monkeypatch.setenv("EVALKIT_OFFLINE", "1")
    (world / "gt.json").write_text('{"5": ["dog"]}')
    with pytest.raises(AssetError, match=r"chair/synonyms\.txt"):
        CHAIR(references=world / "gt.json").items()


def test_scoring_imports_no_torch():
    code = (
        "import sys; from benchmarks import CHAIR; "
        "CHAIR.evaluate({1: 'a dog'}, {1: []}, {'dog': 'dog'}, 'singularize'); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


@pytest.mark.usefixtures("assets")
def test_the_example_of_the_readme_runs():
    """Its first three lines: score a caption, read the metric and the findings."""
    lines = (Path(__file__).parents[2] / "README.md").read_text("utf-8").split("## From Python\n")[1].splitlines()[1:4]
    found = {}
    exec("\n".join(line.strip() for line in lines).replace("result.metrics[", "shown = result.metrics["), found)
    value, findings = found["shown"]
    assert (value, [finding.note for finding in findings]) == (50.0, ["dog", "bench"])


def test_examples_in_docstrings_run():
    assert doctest.testmod(chair).failed == 0


@pytest.mark.parametrize("variant", ["pos_lemma", "singularize"])
def test_the_miniature_world_is_read_by_the_same_loaders(tmp_path, monkeypatch, variant):
    from evalkit.miniature.files import read_scenes, write_world

    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    world = write_world(tmp_path / "world", 12, seed=3)
    items = CHAIR.miniature(world, variant).items()
    scenes = read_scenes(world)
    for item in items:
        assert item.image.open().mode == "RGB"
        assert {thing.noun for thing in scenes[int(item.id)].things} <= set(item.reference["objects"])
    assert len(items) == 12


@pytest.mark.parametrize("variant", ["singularize", "pos_lemma"])
@pytest.mark.parametrize("unfinished", ["keep", "drop"])
def test_cuts_score_as_the_cut_texts_do(world, variant, unfinished):
    benchmark = CHAIR.miniature(world, variant)
    benchmark.unfinished = unfinished
    item = benchmark.items()[0]
    text = 'There are two cats. A dog on a couch "sleeps" near Mr. Cat. The puppies\'  ball... One cat'
    sample = Sample(item, benchmark.prompt(item), Response(item.id, text), benchmark.score(item, text))
    ends = range(len(text) + 1)
    cuts = [finished_part(text[:end]) if unfinished == "drop" else text[:end] for end in ends]
    alone = [score_caption(cut, item.reference["objects"], benchmark.finder).counts for cut in cuts]
    assert list(benchmark.count_cuts(sample, ends)) == alone
    assert len({tuple(counts.items()) for counts in alone}) >= 5


def test_a_table_that_was_changed_has_another_hash(world, tmp_path):
    benchmark = CHAIR.miniature(world)
    benchmark.table = tmp_path / "synonyms.txt"
    hashes = []
    for second, words in enumerate(("dog, puppy\n", "cat, kitty\n", "dog, puppy\n")):  # of one size
        benchmark.table.write_text(words)
        os.utime(benchmark.table, (second, second))
        hashes.append(benchmark.settings()["synonyms"])
    assert hashes[0] == hashes[2] != hashes[1]
    benchmark.table.unlink()
    with pytest.raises(DataError, match=r"synonyms\.txt: cannot be read"):
        benchmark.settings()
