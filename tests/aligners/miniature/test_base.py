"""The recipe of the miniature base, with a few steps in place of hundreds."""

import dataclasses
import json
import threading
from itertools import islice
from random import Random

import pytest
import torch
from PIL import Image

from aligners.miniature import base as miniature_base
from aligners.miniature import lessons
from aligners.miniature.base import (
    NEIGHBOURS,
    Recipe,
    build_base,
    cached_base,
    cached_neighbours_base,
    cell_targets,
    once,
    recipe_hash,
    train_base,
)
from aligners.miniature.lessons import (
    Teacher,
    answer_lesson,
    caption_lesson,
    facts_lesson,
    scene_batches,
    scene_pixels,
    shuffled_facts,
)
from aligners.miniature.loop import Schedule
from aligners.miniature.model import (
    N_IMAGE_TOKENS,
    VISION_HEADS,
    VISION_WIDTH,
    build_model,
    build_processor,
    start_seeing_neighbours,
    turned,
)
from aligners.miniature.quality import LIMITS, MAX_PARAMETERS, Quality, check, describe_scenes, measure, summarise
from aligners.training.checkpoint import save_checkpoint
from aligners.training.policy import parameter_count
from evalkit.errors import TrainingError
from evalkit.files.cache import cache_folder
from evalkit.miniature.captions import fluent
from evalkit.miniature.drawing import render
from evalkit.miniature.lexicon import find_nouns
from evalkit.miniature.questions import Question
from evalkit.miniature.scenes import Scene, Thing, adjacent_cells, scenes_of, split_of

SCENES = list(islice(scenes_of("validation", 1), 8))
SHORT = Recipe(
    see=Schedule(3, 1e-3),
    see_scenes=4,
    describe=Schedule(3, 1e-3),
    describe_scenes=3,
    answer=Schedule(3, 1e-3),
    answer_scenes=3,
    quality_scenes=8,
    tells_scenes=8,
)
GOOD = Quality(
    scenes=400, fluent=99.5, recall=90.0, chair_s=31.0, chair_i=9.0, object_answers=95.0, repeating=2.0, words=24.0
)


@pytest.fixture(scope="module")
def processor():
    return build_processor()


@pytest.fixture(scope="module")
def model(processor):
    return build_model(processor.tokenizer, seed=0).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, model, processor):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(model, processor, folder)
    return folder


def test_model_has_at_most_a_million_parameters_and_heads_that_vllm_serves(model):
    config = model.config
    assert parameter_count(model) <= MAX_PARAMETERS
    for part in (config.vision_config, config.text_config):
        assert part.hidden_size // part.num_attention_heads == 32


@pytest.mark.parametrize("word", ["Yes", "No", " dog", "</s>"])
def test_answers_and_nouns_are_single_tokens(processor, word):
    assert len(processor.tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_the_untrained_model_names_what_its_last_attention_sees(model):
    words = model.get_input_embeddings().weight
    attention = model.model.language_model.layers[1].self_attn
    seen = words[300:310]
    named = model.lm_head(attention.o_proj(attention.v_proj(seen))).argmax(-1)
    assert named.tolist() == list(range(300, 310))


def test_tokenizer_is_the_same_every_time(processor):
    assert build_processor().tokenizer.get_vocab() == processor.tokenizer.get_vocab()


def test_training_pixels_are_what_the_image_processor_gives(checkpoint, tmp_path):
    from transformers import AutoProcessor

    for number, scene in enumerate(SCENES[:3]):
        render(scene).save(tmp_path / f"{number}.png")
    pictures = [Image.open(tmp_path / f"{number}.png") for number in range(3)]
    loaded = AutoProcessor.from_pretrained(checkpoint).image_processor(images=pictures, return_tensors="pt")
    assert torch.equal(scene_pixels(SCENES[:3]), loaded["pixel_values"])


@pytest.mark.parametrize("facts", [None, "Facts: a dog, two cups."])
def test_training_tokens_are_those_of_the_chat_template(processor, facts):
    question = Question("Is there a dog in the image?", "Yes")
    row = Teacher(processor.tokenizer, 1.0).row([question], facts)
    text = f"{facts} {question.text}" if facts else question.text
    user = {"role": "user", "content": [{"type": "image", "image": render(SCENES[0])}, {"type": "text", "text": text}]}
    assistant = {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}
    settings = {"tokenize": True, "return_dict": True}
    prompt = processor.apply_chat_template([user], add_generation_prompt=True, **settings)["input_ids"]
    whole = processor.apply_chat_template([user, assistant], **settings)["input_ids"]
    (segment,) = row.segments
    prompt_ids = [*row.prefix_ids, *segment.prompt_ids]
    assert torch.as_tensor(prompt).flatten().tolist() == prompt_ids
    assert torch.as_tensor(whole).flatten().tolist() == [*prompt_ids, *segment.response_ids]


def test_checkpoint_loads_with_auto_classes_and_keeps_every_weight(checkpoint, model):
    from transformers import AutoModelForImageTextToText

    loaded = AutoModelForImageTextToText.from_pretrained(checkpoint).state_dict()
    expected = model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_saved_names_are_the_ones_vllm_expects(checkpoint):
    from safetensors import safe_open

    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        names = [name for name in file.keys() if "vision_tower" in name]  # noqa: SIM118
    assert names
    assert all("vision_tower.vision_model." in name for name in names)
    assert not any("vision_model.vision_model" in name for name in names)


def test_training_draws_from_the_training_split_only():
    scenes, _ = next(scene_batches("see", seed=0, size=40))
    assert {split_of(scene) for scene in scenes} == {"train"}


@pytest.mark.parametrize("lesson", [answer_lesson, facts_lesson])
def test_lessons_answer_truly(lesson):
    for number, scene in enumerate(SCENES):
        for question in lesson(scene, Random(number)):
            if question.text.startswith("Is there a"):
                (mention,) = find_nouns(question.text)
                assert question.answer == ("Yes" if mention.noun in scene.nouns else "No")


@pytest.mark.parametrize("noisy", [True, False])
def test_the_first_thing_in_a_caption_lesson_is_a_fluent_description(noisy):
    for number, scene in enumerate(SCENES):
        description = caption_lesson(scene, Random(number), noisy)[0]
        assert fluent(description.answer)
        assert noisy or {mention.noun for mention in find_nouns(description.answer)} == scene.nouns


def test_facts_name_exactly_the_scene():
    for number, scene in enumerate(SCENES):
        facts = shuffled_facts(scene, Random(number))
        assert facts.startswith("Facts: ")
        assert {mention.noun for mention in find_nouns(facts)} == scene.nouns


def test_cell_targets_add_up_picture_place_noun_and_colour():
    values = {"park": 1.0, "kite": 10.0, "red": 100.0, "image": 1000.0}
    words = {word: torch.tensor([value]) for word, value in values.items()}
    scene = Scene("park", (Thing("kite", "red", 4, 0, 0),))
    targets = cell_targets(scene, words, Recipe(place_share=0.5, colour_share=0.7))
    assert targets.flatten().tolist() == [1000.5] * 4 + [1080.5] + [1000.5] * 4


def test_cell_targets_show_neighbours_where_captions_state_them():
    words = {"park": torch.zeros(4), "image": torch.zeros(4), "kite": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    scene = Scene("park", (Thing("kite", None, 0, 0, 0),))
    targets = cell_targets(scene, words, Recipe(neighbours=0.7, neighbour_share=0.5))
    beside = [1.5, 2.0, 0.5, 1.0]
    assert targets.tolist() == [[1.0, 2.0, 3.0, 4.0], beside, [0.0] * 4, beside, *[[0.0] * 4] * 5]


def test_a_tower_that_is_to_see_neighbours_starts_by_looking_at_them(processor):
    model = build_model(processor.tokenizer, seed=0).eval()
    start_seeing_neighbours(model)
    tower = model.model.vision_tower
    states = torch.zeros(1, 1 + N_IMAGE_TOKENS, VISION_WIDTH)
    states[0] = tower.embeddings.position_embedding.weight.detach()
    looker, width = tower.encoder.layers[1].self_attn, VISION_WIDTH // VISION_HEADS
    for head in (0, 1):
        own = slice(head * width, (head + 1) * width)
        with torch.no_grad():
            looks = looker.q_proj(states)[0, 1:, own] @ looker.k_proj(states)[0, 1:, own].T
        for cell in range(N_IMAGE_TOKENS):
            near = sorted(adjacent_cells(cell))
            far = [other for other in range(N_IMAGE_TOKENS) if other not in near]
            assert looks[cell, near].min() > looks[cell, far].max()
    assert torch.equal(turned(turned(states)), states)


def test_a_base_states_neighbours_if_its_recipe_says_so(monkeypatch):
    asked = []
    describe = lessons.describe
    monkeypatch.setattr(
        lessons,
        "describe",
        lambda scene, rng, noisy, neighbours=0.0: asked.append(neighbours) or describe(scene, rng, noisy),
    )
    train_base(0, SHORT)
    assert set(asked) == {0.0}
    asked.clear()
    train_base(0, dataclasses.replace(SHORT, neighbours=0.7))
    assert set(asked) == {0.7}
    assert recipe_hash(SHORT) != recipe_hash(dataclasses.replace(SHORT, neighbours=0.7))


def test_training_is_reproducible_leaves_the_tower_trainable_and_reports_three_stages():
    torch.manual_seed(1)
    before, stages = torch.get_rng_state(), []
    first, _ = train_base(0, SHORT, lambda *call: stages.append(call))
    assert torch.equal(torch.get_rng_state(), before)
    second, _ = train_base(0, SHORT)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in first.parameters())
    assert not first.training
    assert [what for what, done, total in stages if done == total] == ["see", "describe", "answer"]


def test_an_unfit_base_is_drawn_again_then_refused_and_not_saved(tmp_path):
    trained = []
    with pytest.raises(TrainingError, match=r"not fit for use: fluent is 0\.0 %"):
        build_base(tmp_path / "base", 0, lambda what, done, total: trained.append(what if done == total else ""), SHORT)
    assert trained.count("answer") == SHORT.draws
    assert not (tmp_path / "base").exists()


def test_the_first_draw_that_passes_is_taken_and_says_why_others_were_refused(tmp_path, monkeypatch):
    draws = iter([dataclasses.replace(GOOD, recall=10.0), GOOD])
    monkeypatch.setattr(miniature_base, "measure", lambda *_: next(draws))
    report = json.loads((build_base(tmp_path / "base", 3, recipe=SHORT) / "quality.json").read_text())
    assert ["recall is 10.0 %" in text for text in report["refused_draws"]] == [True]
    assert (report["seed"], report["recall"]) == (3, GOOD.recall)


def test_a_fit_base_is_saved_with_its_quality(tmp_path, monkeypatch):
    monkeypatch.setattr(miniature_base, "measure", lambda *_: GOOD)
    folder = build_base(tmp_path / "base", seed=5, recipe=SHORT)
    report = json.loads((folder / "quality.json").read_text())
    assert report["recall"] == GOOD.recall
    assert report["seed"] == 5
    assert report["parameters"] <= MAX_PARAMETERS
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("metric", LIMITS)
def test_each_limit_is_checked_and_named(metric):
    low, high = LIMITS[metric]
    check(GOOD, parameters=MAX_PARAMETERS)
    check(dataclasses.replace(GOOD, **{metric: low}), parameters=1)
    with pytest.raises(TrainingError, match=f"{metric} is {low - 0.1:.1f} %"):
        check(dataclasses.replace(GOOD, **{metric: low - 0.1}), parameters=1)
    if high < 100:
        with pytest.raises(TrainingError, match=metric):
            check(dataclasses.replace(GOOD, **{metric: high + 0.1}), parameters=1)


def test_too_many_parameters_are_refused():
    with pytest.raises(TrainingError, match="1000001 parameters"):
        check(GOOD, parameters=MAX_PARAMETERS + 1)


def test_summary_counts_claims_against_the_scenes():
    dog = Scene("park", (Thing("dog", None, 4, 0, 0), Thing("kite", "red", 5, 0, 0)))
    responses = ["The image shows a park with a dog and a bench. There is a person.", "Nonsense without a stop"]
    assert summarise([dog, dog], responses, object_answers=75.0) == Quality(
        scenes=2, fluent=50.0, recall=25.0, chair_s=50.0, chair_i=66.67, object_answers=75.0, repeating=0.0, words=9.5
    )


def test_measure_asks_every_scene(model, processor):
    quality = measure(model, processor, n_scenes=3, seed=1)
    assert quality.scenes == 3
    assert quality.object_answers == 0.0  # an untrained model says neither Yes nor No


def test_descriptions_do_not_depend_on_the_batch(model, processor):
    together = describe_scenes(model, processor, SCENES[:3])
    alone = [describe_scenes(model, processor, [scene])[0] for scene in SCENES[:3]]
    assert together == alone


def test_recipe_hash_changes_with_a_constant():
    assert recipe_hash(Recipe()) == recipe_hash(Recipe())
    assert recipe_hash(Recipe()) != recipe_hash(Recipe(clean_share=0.5))


def test_cached_base_is_built_once(tmp_path, monkeypatch):
    builds = []

    def build(folder, seed, progress):
        builds.append(seed)
        (folder / "model.safetensors").write_bytes(b"")

    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(miniature_base, "build_base", build)
    assert cached_base(0) == cached_base(0)
    assert cached_base(1) != cached_base(0)
    assert builds == [0, 1]


def test_a_base_that_states_neighbours_is_kept_beside_the_other(tmp_path, monkeypatch):
    builds = []

    def build(folder, seed, progress, recipe):
        builds.append((seed, recipe))
        (folder / "model.safetensors").write_bytes(b"")

    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(miniature_base, "build_base", build)
    assert cached_neighbours_base(0) == cached_neighbours_base(0)
    assert builds == [(0, NEIGHBOURS)]
    monkeypatch.setattr(miniature_base, "build_base", lambda folder, seed, progress: None)
    assert cached_base(0) != cached_neighbours_base(0)


def test_the_cached_base_lies_where_all_caches_do(tmp_path, monkeypatch):
    monkeypatch.delenv("EVALKIT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(miniature_base, "build_base", lambda folder, seed, progress: (folder / "done").touch())
    assert cached_base(0).parent == cache_folder() == tmp_path / "evalkit"


def test_parallel_callers_build_once(tmp_path):
    builds, started = [], threading.Event()

    def build(folder):
        builds.append(folder)
        started.wait(0.2)
        (folder / "done").touch()

    threads = [threading.Thread(target=once, args=(tmp_path / "base", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1
    assert (tmp_path / "base" / "done").exists()


def test_a_failed_build_leaves_nothing_and_may_be_tried_again(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise TrainingError("broken")

    with pytest.raises(TrainingError):
        once(tmp_path / "base", fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    assert once(tmp_path / "base", lambda folder: (folder / "done").touch()).is_dir()
