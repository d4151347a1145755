"""The world on disk: official layouts, balanced questions, true labels, the same bytes for the same seed."""

import base64
import hashlib
import io
import json
from collections import Counter
from random import Random

import nltk
import pytest
from PIL import Image

from evalkit.errors import DataError
from evalkit.miniature.captions import true_caption
from evalkit.miniature.files import read_scenes, write_world
from evalkit.miniature.lexicon import NOUNS, PLACES, find_nouns, head_word
from evalkit.miniature.questions import OPEN_KINDS

N = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), N, seed=3)


def read(path):
    return json.loads(path.read_text())


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_writes_the_same_bytes(world, tmp_path):
    assert hashes(write_world(tmp_path, N, seed=3)) == hashes(world)


def test_other_seeds_and_splits_have_other_images(world, tmp_path):
    ours = {digest for name, digest in hashes(world).items() if name.startswith("images/")}
    for seed, split in ((4, "test"), (3, "train"), (3, "validation")):
        other = hashes(write_world(tmp_path / f"{split}{seed}", N, seed, split))
        assert not ours & {digest for name, digest in other.items() if name.startswith("images/")}


def test_image_ids_of_splits_never_meet(world, tmp_path):
    train = read_scenes(write_world(tmp_path, 2, 3, "train"))
    assert not set(train) & set(read_scenes(world))


@pytest.mark.parametrize("n_scenes", [0, -1, 100_001])
def test_an_impossible_number_of_scenes_is_an_error(tmp_path, n_scenes):
    with pytest.raises(DataError, match="1 to 100000 scenes"):
        write_world(tmp_path, n_scenes, 0)


def test_a_folder_that_is_no_world_is_an_error(tmp_path):
    with pytest.raises(DataError, match="not a miniature world"):
        read_scenes(tmp_path)


def test_instances_name_exactly_the_scene(world):
    instances, scenes = read(world / "annotations/instances_mini.json"), read_scenes(world)
    names = {category["id"]: category["name"] for category in instances["categories"]}
    assert set(names.values()) == set(NOUNS)
    assert [image["id"] for image in instances["images"]] == read(world / "image_ids.json") == list(scenes)
    for image in instances["images"]:
        found = [a for a in instances["annotations"] if a["image_id"] == image["id"]]
        assert Counter(names[a["category_id"]] for a in found) == Counter(
            thing.noun for thing in scenes[image["id"]].things
        )
        assert all(a["area"] == a["bbox"][2] * a["bbox"][3] for a in found)
        assert Image.open(world / "images" / image["file_name"]).size == (image["width"], image["height"])


def test_five_true_human_captions_an_image(world):
    captions, scenes = read(world / "annotations/captions_mini.json"), read_scenes(world)
    assert set(Counter(a["image_id"] for a in captions["annotations"]).values()) == {5}
    for annotation in captions["annotations"]:
        nouns = {mention.noun for mention in find_nouns(annotation["caption"])}
        assert nouns
        assert nouns <= scenes[annotation["image_id"]].nouns


@pytest.mark.parametrize("strategy", ["random", "popular", "adversarial"])
def test_polling_is_balanced_and_true(world, strategy):
    lines, scenes = read_lines(world / f"pope/coco_pope_{strategy}.json"), read_scenes(world)
    assert [line["question_id"] for line in lines] == list(range(1, len(lines) + 1))
    assert Counter(line["label"] for line in lines)["yes"] * 2 == len(lines)
    for line in lines:
        (mention,) = find_nouns(line["text"])
        scene = scenes[int(line["image"].split("_")[-1].removesuffix(".png"))]
        assert (mention.noun in scene.nouns) == (line["label"] == "yes")


def test_amber_ids_are_positions_and_generative_comes_first(world):
    annotations = read(world / "amber/annotations.json")
    assert [a["id"] for a in annotations] == list(range(1, len(annotations) + 1))
    assert [a["type"] for a in annotations[:N]] == ["generative"] * N
    assert {a["type"] for a in annotations[N:]} == {
        "discriminative-attribute-state",
        "discriminative-attribute-number",
        "discriminative-attribute-action",
        "discriminative-hallucination",
        "discriminative-relation",
        "relation",
    }


def test_amber_queries_cover_the_annotations_once(world):
    queries = {name: read(world / f"amber/query/query_{name}.json") for name in ("all", "generative", "discriminative")}
    parts = [read(world / f"amber/query/query_discriminative-{p}.json") for p in ("attribute", "existence", "relation")]
    assert [q["id"] for q in queries["all"]] == [a["id"] for a in read(world / "amber/annotations.json")]
    assert queries["all"] == queries["generative"] + queries["discriminative"]
    assert queries["discriminative"] == [query for part in parts for query in part]
    assert {query["query"] for query in queries["generative"]} == {"Describe this image."}


def test_amber_truth_follows_the_official_types(world):
    for annotation in read(world / "amber/annotations.json")[N:]:
        fixed = {"discriminative-hallucination": "no", "discriminative-relation": "yes", "relation": "no"}
        assert annotation["truth"] == fixed.get(annotation["type"], annotation["truth"])
        assert annotation["truth"] in ("yes", "no")


def test_amber_words_are_keys_of_the_association_table(world):
    table = read(world / "amber/relation.json")
    for annotation in read(world / "amber/annotations.json")[:N]:
        assert set(annotation["truth"]) | set(annotation["hallu"]) <= set(table)
        assert not set(annotation["truth"]) & set(annotation["hallu"])
        assert 3 <= len(annotation["hallu"]) <= 6


def test_the_open_question_template_has_96_records_of_rotating_types(world):
    records = read(world / "mmhal/mmhal-bench_answer_template.json")
    assert [record["question_type"] for record in records] == list(OPEN_KINDS) * 12
    assert set(Counter(record["question_topic"] for record in records).values()) == {8}
    assert all((world / record["image_src"]).is_file() for record in records)
    assert all(record["gt_answer"] and record["model_answer"] == "" for record in records)


def test_detail_question_lines_carry_the_image(world):
    lines, scenes = read_lines(world / "object_halbench/obj_halbench_with_image.jsonl"), read_scenes(world)
    assert [line["image_id"] for line in lines] == list(scenes)
    assert all("detail" in line["question"] for line in lines)
    picture = Image.open(io.BytesIO(base64.b64decode(lines[0]["image"])))
    assert picture.tobytes() == Image.open(world / "images/COCO_mini_000000000001.png").convert(picture.mode).tobytes()


def test_a_tagger_and_lemmatiser_find_every_head_word_in_true_captions():
    from nltk.stem import WordNetLemmatizer

    from evalkit.miniature.scenes import sample_scene
    from evalkit.text import has_language_data

    assert has_language_data()  # and NLTK looks where it lies
    lemma, rng = WordNetLemmatizer().lemmatize, Random(0)
    vocabulary = {head_word(noun) for noun in NOUNS} | {"people"}
    for _ in range(300):
        scene = sample_scene(rng)
        caption = true_caption(scene, rng)
        tagged = nltk.pos_tag(nltk.word_tokenize(caption))
        nouns = {lemma(word, "n") for word, tag in tagged if tag.startswith("NN")} & vocabulary
        truth = {head_word(noun) for noun in scene.nouns}
        assert {"person" if noun == "people" else noun for noun in nouns} == truth, caption


def test_no_place_is_a_noun():
    assert all(find_nouns(place) == [] for place in PLACES)
