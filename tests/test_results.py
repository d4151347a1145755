"""`make results`: verdicts, resuming, sections of the page; no training."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from aligners.miniature.recipes.corrections import Described
from evalkit.errors import EngineError
from evalkit.images import ImageFile
from evalkit.miniature.captions import split_sentences, true_caption
from evalkit.miniature.files import read_scenes
from evalkit.miniature.lexicon import NOUNS
from evalkit.runs.run import Run
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response
from evalkit.statistics.intervals import Interval
from tests.results.adapters import FULL, reaches, share_of_fall
from tests.results.bench import CHAIR, Bench, pooled, pooled_front
from tests.results.corrections import ranking
from tests.results.entry import (
    Entry,
    Mark,
    Measured,
    Verdict,
    answer,
    at_equal_recall,
    measure,
    no_worse,
    paired_difference,
    read,
)
from tests.results.hacking import WITH, WITHOUT, verdicts
from tests.results.labels import Labeler
from tests.results.neighbours import said as said_of_neighbours
from tests.results.page import arms_table, section, write_page
from tests.results.picture import trail, write_picture
from tests.results.registry import ENTRIES
from tests.results.running import run, settle, train_bases

SCENES = 24
SEEDS = (0, 1)


class Says:
    """An engine that gives prepared texts, by the image's name."""

    name = "prepared"

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def describe(self) -> Mapping[str, Json]:
        return {"engine": "prepared"}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        for prompt in prompts:
            yield Response(prompt.id, self._texts[prompt.images[0].name], finish="stop")

    def stop(self) -> None:
        raise EngineError("nothing runs")


@dataclass(frozen=True)
class ToyBench(Bench):
    """A bench whose bases are prepared texts too."""

    def base(self, seed: int) -> Path:
        return self.folder / f"model{seed}"

    def base_run(self, seed: int, task: str = CHAIR) -> Run:
        return self.score(Says(texts(self, "both")), self.folder / f"base{seed}", "base", (task,))[task]


def texts(bench: Bench, kind: str) -> dict[str, str]:
    """Descriptions: "true"; "both": and a false mention in the last sentence; "first": the first true sentence."""
    names = {int(name[-16:-4]): name for name in images_of(bench)}
    found = {}
    for image, scene in read_scenes(bench.worlds[False]).items():
        true = true_caption(scene, Random(str(image)))
        absent = next(noun for noun in NOUNS if noun not in scene.nouns)
        said = {"true": true, "both": f"{true} There is a {absent}.", "first": split_sentences(true)[0]}[kind]
        found[names[image]] = said
    return found


def images_of(bench: Bench) -> list[str]:
    return sorted(path.name for path in (bench.worlds[False] / "images").iterdir())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> ToyBench:
    return ToyBench(tmp_path_factory.mktemp("results"), SEEDS, SCENES)


def toy(bench: Bench, *kinds: str) -> Entry:
    """An entry whose arms say prepared things."""

    def arm(kind: str):
        return lambda site: [Mark(1, lambda: Says(texts(bench, kind)))]

    return Entry("toy-" + "-".join(kinds), "A toy", "True is better.", "CHAIR_s.", {kind: arm(kind) for kind in kinds})


def measured(bench: Bench, *kinds: str) -> Measured:
    entry = toy(bench, *kinds)
    for seed in bench.seeds:
        measure(entry, bench, seed)
    found = read(entry, bench)
    assert found is not None
    return found


def test_an_arm_that_says_less_is_compared_with_the_other_cut_short(bench: ToyBench) -> None:
    found = measured(bench, "first", "true")
    verdict = at_equal_recall(found, "first beside true", "first", "true")
    assert verdict.difference.value == 0.0
    assert verdict.answer == "not supported"
    turned = at_equal_recall(found, "true beside first", "true", "first")
    assert turned.difference.value == 0.0


def test_neighbours_are_measured_in_a_world_of_their_own(tmp_path: Path) -> None:
    bench = ToyBench(tmp_path, SEEDS, SCENES)

    def arm(truth: bool):
        def train(site):
            said = {}
            for image, scene in read_scenes(bench.stating_neighbours().worlds[False]).items():
                pairs = [(a, b) for a in sorted(scene.nouns) for b in sorted(scene.nouns - {a})]
                a, b = next((a, b) for a, b in pairs if (b in scene.beside(a)) == truth)
                said[f"COCO_mini_{image:012}.png"] = f"The {a} is next to the {b}."
            return [Mark(1, lambda: Says(said))]

        return train

    entry = Entry("relations", "", "", "", {"right": arm(True), "wrong": arm(False)}, neighbours=True)
    for seed in SEEDS:
        measure(entry, bench, seed)
    found = read(entry, bench)
    assert found is not None
    assert found.bench.worlds[False].parent == tmp_path / "stating-neighbours"
    lower = paired_difference(found, "right beside wrong", "right", "wrong", "wrong_relations")
    assert lower is not None
    assert (lower.measure, lower.difference.value, lower.answer) == ("points of wrong_relations", -100.0, "supported")
    turned = paired_difference(found, "wrong beside right", "wrong", "right", "wrong_relations")
    assert turned is not None
    assert (turned.difference.value, turned.answer) == (100.0, "not supported")
    assert paired_difference(found.on([2]), "nothing", "right", "wrong", "wrong_relations") is None
    assert "wrong_relations |" in arms_table(found)
    assert "wrong_relations" not in arms_table(measured(bench, "true"))
    assert "| right | 0, 1 | 100 | 0.0 |" in said_of_neighbours(found)


def test_what_no_cut_explains_is_supported(bench: ToyBench) -> None:
    spoilt = {name: " ".join(reversed(split_sentences(text))) for name, text in texts(bench, "both").items()}
    entry = replace(
        toy(bench, "true"),
        name="toy-spoilt",
        arms={
            "true": lambda site: [Mark(1, lambda: Says(texts(bench, "true")))],
            "spoilt": lambda site: [Mark(1, lambda: Says(spoilt))],
        },
    )
    for seed in bench.seeds:
        measure(entry, bench, seed)
    found = read(entry, bench)
    assert found is not None
    better = at_equal_recall(found, "true beside spoilt", "true", "spoilt")
    assert better.answer == "supported"
    assert better.difference.value is not None
    assert better.difference.value < -50
    assert no_worse(found, "spoilt is no worse", "spoilt", "true").answer == "not supported"
    assert no_worse(found, "true is no worse", "true", "spoilt").answer == "supported"


def test_runs_of_several_bases_are_one_run_with_scenes_as_clusters(bench: ToyBench) -> None:
    runs = measured(bench, "true", "both").last("both")
    whole = pooled(runs, "both")
    assert len(whole.rows) == len(SEEDS) * SCENES
    assert len(set(whole.clusters())) == SCENES
    assert whole.intervals()["per_100"].value == 100.0
    front = pooled_front(runs)
    assert len(front.keys) == len(whole.rows)
    assert {key for key, _ in front.keys} == {row["id"] for row in whole.rows}


@pytest.mark.parametrize(
    ("total", "bases", "said"),
    [
        (Interval(-5.0, -8.0, -2.0), {0: -4.0, 1: -6.0}, "supported"),
        (Interval(-5.0, -8.0, -2.0), {0: 1.0, 1: -11.0}, "cannot tell"),
        (Interval(-5.0, -8.0, 2.0), {0: -4.0, 1: -6.0}, "cannot tell"),
        (Interval(-0.5, -1.9, 1.0), {0: -0.5}, "not supported"),
        (Interval(6.0, 3.0, 9.0), {0: 6.0}, "not supported"),
        (Interval(None), {0: None}, "cannot tell"),
    ],
)
def test_answers(total: Interval, bases: Mapping[int, float | None], said: str) -> None:
    assert answer(total, bases) == said


def test_finished_arms_are_not_trained_again(bench: ToyBench) -> None:
    calls: list[int] = []

    def train(site):
        calls.append(site.seed)
        return [Mark(3, lambda: Says(texts(bench, "true")))]

    entry = replace(toy(bench, "true"), name="counted", arms={"one": train, "two": train})
    measure(entry, bench, 0, wanted=["one"])
    partly = read(entry, bench)
    assert partly is not None
    assert partly.shared("one") == (0,)
    assert partly.shared("one", "two") == ()
    assert at_equal_recall(partly, "one beside two", "one", "two") is None
    measure(entry, bench, 0)
    measure(entry, bench, 0)
    assert calls == [0, 0]
    found = read(entry, bench)
    assert found is not None
    assert found.seeds == (0,)


def test_a_section_stays_until_its_entry_is_measured_again(bench: ToyBench, tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    first, second = replace(toy(bench, "true", "both"), name="first"), replace(toy(bench, "both"), name="second")
    write_page(page, [first, second], {})
    assert page.read_text().count("Not run yet.") == 2
    write_page(page, [first, second], {"first": "## One\n\n5.0"})
    write_page(page, [first, second], {"second": "## Two\n\n7.0"})
    text = page.read_text()
    assert text.index("5.0") < text.index("7.0")
    assert "Not run yet." not in text


def test_a_section_says_when_on_which_bases_and_what(bench: ToyBench) -> None:
    found = measured(bench, "true", "both")
    said = Verdict("true beside both", "points", Interval(-1.0, -2.0, -0.5), {0: -1.0, 1: None}, "supported")
    text = section(replace(found, entry=replace(found.entry, verdicts=lambda measured: [said])))
    assert "on bases 0, 1" in text
    assert "**supported**: true beside both: -1.0 [-2.0, -0.5] points (base 0 -1.0, base 1 -)" in text
    assert "| both | 0, 1 | 100.0 [" in text
    assert "True is better." in text


def test_a_labeler_errs_in_its_share_of_the_questions(bench: ToyBench) -> None:
    scenes = {f"images/{image:05}.png": scene for image, scene in read_scenes(bench.worlds[False]).items()}
    prompts = [
        Prompt(f"{name}{noun}", f"Is there a {noun} in the image?", (ImageFile(Path("x"), name),))
        for name in scenes
        for noun in NOUNS
    ]
    truth = [choice.masses for choice in Labeler(scenes, 0.0).choices(prompts, [])]
    wrong = [choice.masses for choice in Labeler(scenes, 0.2).choices(prompts, [])]
    right = [noun in scene.nouns for scene in scenes.values() for noun in NOUNS]
    assert [yes > no for yes, no in truth] == right
    share = sum(one != other for one, other in zip(truth, wrong, strict=True)) / len(prompts)
    assert 0.15 < share < 0.25
    assert wrong == [choice.masses for choice in Labeler(scenes, 0.2).choices(prompts, [])]


def test_a_fall_after_the_best_checkpoint_counts_against_the_arm_that_falls(bench: ToyBench) -> None:
    def arm(*kinds: str):
        return lambda site: [Mark(n, lambda kind=kind: Says(texts(bench, kind))) for n, kind in enumerate(kinds, 1)]

    entry = replace(toy(bench, "true"), name="falls", arms={WITHOUT: arm("true", "both"), WITH: arm("both", "true")})
    for seed in bench.seeds:
        measure(entry, bench, seed)
    found = read(entry, bench)
    assert found is not None
    fall, end = verdicts(found)
    assert fall.difference.value == pytest.approx(-1.0)  # one false mention more
    assert fall.answer == "supported"
    assert end.difference.value == pytest.approx(-1.0)


def test_the_picture_has_a_line_from_the_base_to_what_an_arm_ends_with(bench: ToyBench, tmp_path: Path) -> None:
    arms = {
        "dense DPO": lambda site: [
            Mark(n, lambda kind=kind: Says(texts(bench, kind))) for n, kind in ((1, "both"), (2, "true"))
        ],
        "careful prompt": lambda site: [Mark(0, lambda: Says(texts(bench, "true")))],
    }
    entry = replace(toy(bench, "true"), name="drawn", arms={**arms, "VCD": arms["careful prompt"]})
    measure(entry, bench, 0, wanted=list(arms))
    found = read(entry, bench)
    assert found is not None
    assert trail(found, "dense DPO") == [(100.0, 100.0), (100.0, 100.0), (100.0, 0.0)]  # base, both, true
    runs = {**found.runs, **{arm: {} for arm in ("plain DPO", "RLAIF", "fact-RLHF", "best of 8")}}
    write_picture(replace(found, runs=runs), tmp_path / "images" / "front.svg")
    drawn = ElementTree.parse(tmp_path / "images" / "front.svg")
    words = [text.text for text in drawn.iter() if text.tag.endswith("text")]
    assert {"dense DPO", "careful prompt", "recall, %, higher is better"} <= set(words)
    assert "RLAIF" not in words


def test_an_arm_stands_below_the_base_on_the_same_bases(bench: ToyBench) -> None:
    entry = replace(toy(bench, "both", "true"), name="alike")
    first, second = bench.seeds
    for seed in bench.seeds:
        measure(entry, bench, seed, wanted=["both"])
    measure(entry, bench, first, wanted=["true"])
    measured = read(entry, bench)
    assert measured is not None
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in arms_table(measured).splitlines()[2:]]
    assert rows == [("base", "0, 1"), ("both", "0, 1"), ("base", "0"), ("true", "0")]
    assert measured.on([second]).last("true") == {}


def test_rankings_follow_the_truth(bench: ToyBench) -> None:
    image, scene = next(iter(read_scenes(bench.worlds[False]).items()))
    true, false = (texts(bench, kind)[f"COCO_mini_{image:012}.png"] for kind in ("true", "both"))
    first, second = Described(7, "Describe.", false, 0.7), Described(7, "Describe.", true, 1.0)
    (pair,) = ranking(first, second, scene)
    assert (pair.chosen, pair.rejected) == (true, false)
    assert ranking(first, first, scene) == []


def test_every_entry_says_what_is_claimed_and_how_it_is_judged() -> None:
    assert {"methods", "dense", "hacking"} <= {name for name, entry in ENTRIES.items() if entry.quick}
    for name, entry in ENTRIES.items():
        assert entry.name == name
        assert entry.hypothesis.endswith(".")
        assert entry.arms or entry.name == "bases"


def test_the_share_of_a_fall_is_of_full_trainings_own(bench: ToyBench) -> None:
    found = measured(bench, "both", "true", "first")
    renamed = replace(found, runs={**found.runs, FULL: found.runs["true"]})
    assert share_of_fall(renamed, "true", SEEDS).value == pytest.approx(100.0)
    assert share_of_fall(renamed, "both", SEEDS).value == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("low", "high", "bases", "expected"),
    [
        (85.0, 110.0, [90.0, 81.0], "supported"),
        (85.0, 110.0, [90.0, 79.0], "cannot tell"),
        (70.0, 95.0, [90.0, 85.0], "cannot tell"),
        (20.0, 40.0, [30.0, 33.0], "not supported"),
        (None, None, [30.0, 33.0], "cannot tell"),
        (85.0, 110.0, [90.0, None], "cannot tell"),
    ],
)
def test_a_goal_is_reached_by_the_interval_and_by_every_base(low, high, bases, expected) -> None:
    assert reaches(Interval(90.0, low, high), bases) == expected


@pytest.mark.parametrize("jobs", [1, 2])
def test_bases_side_by_side_give_the_sections_of_one_after_the_other(jobs: int, tmp_path: Path) -> None:
    bench, facts = Bench(tmp_path / "results", SEEDS, SCENES), ENTRIES["facts"]
    for seed in SEEDS:
        for place, arm in enumerate(facts.arms):
            home = bench.home(facts.name, seed, arm)
            home.mkdir(parents=True)
            value = 50.0 + 10 * place + seed
            accuracy = {"value": value, "low": value - 3, "high": value + 3, "method": "expanded"}
            (home / "accuracy.json").write_text(json.dumps(accuracy))
            (home / "done.json").write_text(json.dumps({"marks": {}, "date": "2026-01-01"}))
    report = tmp_path / "results.md"
    run([facts], bench, None, report, jobs)
    text = report.read_text()
    assert "Run 2026-01-01 on bases 0, 1" in text
    assert "| 1 | 51.0 [48.0, 54.0] | 61.0 [58.0, 64.0] | 71.0 [68.0, 74.0] | 81.0 [78.0, 84.0] |" in text
    assert "blurred, without facts beside with them: -10.0 [-13.0, -7.0]" in text


def test_missing_bases_are_trained_first_one_after_the_other(bench: ToyBench, tmp_path: Path) -> None:
    trained: list[tuple[int, bool]] = []

    class Counting(ToyBench):
        def base(self, seed: int) -> Path:
            trained.append((seed, self.neighbours))
            return super().base(seed)

    place = Counting(tmp_path, SEEDS, SCENES)
    entry = toy(place, "true")
    measure(entry, ToyBench(tmp_path, SEEDS, SCENES), 0)
    train_bases([entry, ENTRIES["neighbours"]], place, None)
    assert trained == [(1, False), (0, True), (1, True)]
    trained.clear()
    train_bases([entry, ENTRIES["neighbours"]], place, ["none"])
    assert trained == []


def test_processes_of_the_pool_let_their_data_loaders_fork() -> None:
    """Spawned ones would each import everything anew, and what is trained on could not reach them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=settle, initargs=(1,)) as pool:
        assert pool.submit(eval, "__import__('multiprocessing').get_start_method()").result() == "fork"


READS = """
import os, sys
import evalkit.text
from tests.results.__main__ import main

evalkit.text.has_language_data = lambda: False
sys.argv[1:] = ["facts", "--arms", "none", "--folder", sys.argv[1], "--report", sys.argv[1] + "/page.md"]
main()
print(os.environ["NLTK_DATA"])
"""


def test_without_data_of_nltk_texts_are_read_with_the_miniatures_own(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NLTK_DATA"}
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", READS, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "nltk_data-miniature" in done.stdout.splitlines()[-1]


def test_a_base_that_fails_stops_the_others_with_its_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "results", SEEDS, SCENES)
    for seed in SEEDS:
        (bench.folder / "facts" / f"base{seed}").mkdir(parents=True)
        (bench.folder / "facts" / f"base{seed}" / "shared").write_text("a file where a folder must be")
    with pytest.raises(FileExistsError):
        run([ENTRIES["facts"]], bench, None, tmp_path / "results.md", 2)
