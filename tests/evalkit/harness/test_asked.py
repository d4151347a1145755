"""Blind baselines and changed prompts: what the model gets, and what the run says of it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from toy import ToyBenchmark, ToyEngine

from evalkit.analysis.comparison import compare
from evalkit.errors import RecordError, UsageError
from evalkit.harness.asked import PROMPTS, Asked, asked_otherwise
from evalkit.harness.stages import generate, plan, score
from evalkit.harness.stored import merge_shards, plan_of_run
from evalkit.images import ImageFile
from evalkit.runs.run import load_run
from evalkit.schema import Item, Prompt


class Pictured(ToyBenchmark):
    """The toy benchmark with an image per two items."""

    def __init__(self, folder: Path, n: int = 8) -> None:
        super().__init__(n)
        self.folder = folder
        for index in range(n // 2):
            Image.new("RGB", (8, 8), (20 * index, 0, 0)).save(folder / f"{index}.png")

    def items(self) -> list[Item]:
        return [
            replace(item, image=ImageFile(self.folder, f"{index // 2}.png"))
            for index, item in enumerate(super().items())
        ]

    def prompt(self, item: Item) -> Prompt:
        return Prompt(item.id, item.question, (item.image,))


def names(prompts: tuple[Prompt, ...]) -> list[list[str]]:
    return [[image.name for image in prompt.images] for prompt in prompts]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))


def test_without_the_image(tmp_path: Path) -> None:
    work = plan(Pictured(tmp_path), asked=Asked("none"))
    assert names(work.prompts) == [[]] * 8
    assert work.items[0].image is not None  # whoever looks at the run still sees it


def test_swapped_images_are_never_ones_own_and_none_is_lost(tmp_path: Path) -> None:
    own = names(plan(Pictured(tmp_path)).prompts)
    swapped = names(plan(Pictured(tmp_path), asked=Asked("swapped")).prompts)
    assert all(ours != theirs for ours, theirs in zip(own, swapped, strict=True))
    assert sorted(own) == sorted(swapped)
    assert swapped[0] == swapped[1]  # items that shared an image still do


def test_a_shard_swaps_as_the_whole_does(tmp_path: Path) -> None:
    benchmark = Pictured(tmp_path)
    whole = plan(benchmark, asked=Asked("swapped")).prompts
    assert plan(benchmark, shard=(2, 3), asked=Asked("swapped")).prompts == whole[1::3]


def test_noise_is_an_image_that_opens(tmp_path: Path) -> None:
    prompts = plan(Pictured(tmp_path), asked=Asked("noise")).prompts
    with prompts[0].images[0].open() as image:
        assert image.size == (336, 336)
    again = plan(Pictured(tmp_path), asked=Asked("noise")).prompts
    assert [prompt.images[0].sha256() for prompt in prompts] == [prompt.images[0].sha256() for prompt in again]


def test_a_careful_prompt(tmp_path: Path) -> None:
    (first, *_) = plan(Pictured(tmp_path), asked=Asked(prompt="careful")).prompts
    assert first.text == f"question 0 {PROMPTS['careful']}"


def test_one_image_cannot_be_swapped(tmp_path: Path) -> None:
    image = ImageFile(tmp_path, "x.png")
    with pytest.raises(UsageError, match="at least two images, found 1"):
        asked_otherwise([Prompt("a", "?", (image,)), Prompt("b", "?", (image,))], Asked("swapped"))


def run(folder: Path, name: str, asked: Asked, shard: tuple[int, int] | None = None) -> Path:
    work = plan(Pictured(folder), shard=shard, asked=asked)
    generate(work, ToyEngine(folder / f"{name}.log"), folder / name, name)
    score(work, folder / name)
    return folder / name


def rebuilt(folder: Path):
    def build(name: str, origin: Mapping[str, object]) -> Pictured:
        return Pictured(folder)

    return build


def test_the_signature_says_what_was_asked_and_forbids_a_comparison(tmp_path: Path) -> None:
    plain, blind = run(tmp_path, "plain", Asked()), run(tmp_path, "blind", Asked("none"))
    careful = run(tmp_path, "careful", Asked(prompt="careful"))
    assert "image_ablation" not in str(load_run(plain).signature)
    assert "image_ablation:none" in str(load_run(blind).signature)
    assert "prompt_baseline:careful" in str(load_run(careful).signature)
    with pytest.raises(UsageError, match="image_ablation"):
        compare(plain, blind)
    assert compare(plain, blind, allow=("image_ablation", "images")).pairs[0].items == 8
    with pytest.raises(UsageError, match="prompt_baseline"):
        compare(plain, careful)


def test_a_run_is_not_continued_with_another_image(tmp_path: Path) -> None:
    run(tmp_path, "blind", Asked("none"))
    with pytest.raises(RecordError, match="holds a run with another"):
        run(tmp_path, "blind", Asked("noise"))


def test_a_changed_run_is_scored_again_and_merged_as_it_was_asked(tmp_path: Path) -> None:
    whole = run(tmp_path, "whole", Asked("swapped", "careful"))
    again = plan_of_run(whole, rebuilt(tmp_path))
    score(again, whole)
    assert load_run(whole).rows[0]["prompt"].endswith(PROMPTS["careful"])
    assert "image_ablation:swapped" in str(load_run(whole).signature)
    shards = [run(tmp_path, f"part{index}", Asked("swapped", "careful"), (index, 2)) for index in (1, 2)]
    for shard in shards:  # as the command line labels them
        manifest = (shard / "run.json").read_text()
        (shard / "run.json").write_text(manifest.replace(f'"label": "{shard.name}"', '"label": "same"'))
    merged = merge_shards(shards, tmp_path / "merged", rebuilt(tmp_path))
    score(merged, tmp_path / "merged")
    assert str(load_run(tmp_path / "merged").signature) == str(load_run(whole).signature)


def test_names_of_what_there_is() -> None:
    assert Asked("none", "careful").suffix == "-image-none-careful"
    assert Asked().suffix == ""
    with pytest.raises(UsageError, match="known: careful"):
        Asked(prompt="bold")
    with pytest.raises(UsageError, match="known: none, swapped, noise"):
        Asked(image="blurred")
