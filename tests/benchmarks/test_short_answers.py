"""MMStar, DASH-B, RePOPE, VQAv2: the miniature world, constant answers, bad files."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dash_b import DashB
from benchmarks.mmstar import MMStar, read_letter
from benchmarks.repope import RePOPE
from benchmarks.vqav2 import VQAv2
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import DataError
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world
from evalkit.schema import Prompt


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), 8, 0)


@pytest.mark.parametrize("kind", [MMStar, DashB, RePOPE])
def test_the_miniature_world_speaks_it(kind: Any, world: Path, tmp_path: Path) -> None:
    benchmark = kind.miniature(world)
    assert all(item.image is not None and item.image.is_there() for item in benchmark.items())
    keys = ("answer", "truth")
    right = {i.id: next(i.reference[key] for key in keys if key in i.reference) for i in benchmark.items()}
    found = evaluate(benchmark, ScriptedEngine(lambda p, s: f"{right[p.id].capitalize()}."), tmp_path / "run")
    assert found.metrics["accuracy"].value == 100


def test_a_constant_answer_has_a_harmonic_mean_of_0_and_no_answer_is_wrong(world: Path) -> None:
    benchmark = DashB.miniature(world)
    rows = benchmark.baselines(benchmark.items())
    assert rows["constant Yes"]["harmonic_mean"] == 0
    assert rows["constant Yes"]["accuracy"] == 50
    assert rows["no answer"]["accuracy"] == 0


@pytest.mark.parametrize(
    ("text", "letter"),
    [("(B) a dog", "B"), ("Answer: C", "C"), ("C or D", None), ("Both", None), ("a dog", None),
     ("\\boxed{D}", "D"),
     ("I would choose option A because B is wrong", "A"), ("Not B", None), ("", None), ("B\nbecause", "B")],
)  # fmt: skip
def test_the_letter_that_a_response_settles_on(text: str, letter: str | None) -> None:
    assert read_letter(text) == letter


def table(folder: Path, **changes: Any) -> Path:
    row = {"index": 0, "question": "What? Options: A: x, B: y", "answer": "A", "category": "c", "l2_category": "d"}
    path = folder / "mmstar.jsonl"
    path.write_text(json.dumps(row | changes) + "\n")
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"answer": "E"}, r":1: 'answer' must be A, B, C or D, found 'E'"),
     ({"image": "%%"}, r":1: 'image' is not base64"),
     ({"image": "aGVsbG8="}, r":1: 'image' is not an image"),
     ({"index": None}, r":1: 'index' must be a text or a whole number"), ({}, "expected 1500 questions, found 1")],
)  # fmt: skip
def test_bad_tables_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        MMStar(table(tmp_path, **changes), tmp_path).items()


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"coco": {"dog": ["a.jpg", 3]}}', "'coco', 'dog' must be a list of file names"), ("{}", "names no image"),
     ('{"coco": ["a"]}', "'coco' must be an object of lists"), ('{"c": {"d": ["a", "a"]}}', "stands there twice")],
)  # fmt: skip
def test_bad_lists_are_refused(content: str, said: str, tmp_path: Path) -> None:
    for name in ("neg", "pos"):
        (tmp_path / f"dash_benchmark_{name}.json").write_text(content)
    with pytest.raises(DataError, match=said):
        DashB(tmp_path).items()


def test_labels_of_another_question_are_refused(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"}
    for folder, text in (("pope", "Is there a dog?"), ("labels", "Is there a cat?")):
        (tmp_path / folder).mkdir()
        name = "coco_pope_random.json" if folder == "pope" else "coco_repope_random.json"
        (tmp_path / folder / name).write_text(json.dumps(row | {"text": text}) + "\n")
    with pytest.raises(DataError, match=r"question 'random/1' \('Is there a cat\?'\) is not POPE's"):
        RePOPE(tmp_path / "labels", tmp_path / "pope", splits=("random",)).items()


def test_a_question_left_out_by_repope_still_counts_for_pope(tmp_path: Path) -> None:
    rows = [
        {"question_id": n, "image": "a.jpg", "text": f"Is there a {w}?", "label": "yes"} for n, w in enumerate("xyz", 1)
    ]
    (tmp_path / "coco_pope_random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "coco_repope_random.json").write_text(
        "".join(json.dumps(row) + "\n" for row in (rows[0], rows[1] | {"label": "no"}))
    )
    benchmark = RePOPE(tmp_path, tmp_path, splits=("random",), without_images=True)
    result = benchmark.result({f"random/{n}": "Yes" for n in (1, 2, 3)})
    assert (result.metrics["accuracy"], result.metrics["accuracy_pope_labels"]) == (50, 100)
    assert [item.groups["label"] for item in benchmark.items()] == ["kept", "changed", "left out"]


def vqa(folder: Path, annotation: dict[str, Any]) -> VQAv2:
    (folder / "q.json").write_text(json.dumps({"questions": [{"question_id": 1, "image_id": 2, "question": "What?"}]}))
    (folder / "a.json").write_text(json.dumps({"annotations": [annotation]}))
    return VQAv2(folder / "a.json", folder / "q.json")


def test_vqa_answers_are_scored_against_people(tmp_path: Path) -> None:
    people = [{"answer": word, "answer_id": n} for n, word in enumerate(["red"] * 9 + ["blue"])]
    annotation = {"question_id": 1, "image_id": 2, "question_type": "what", "answer_type": "other", "answers": people}
    benchmark = vqa(tmp_path, annotation)
    assert benchmark.result({1: "Red."}).metrics["accuracy"] == pytest.approx(100)
    assert benchmark.result({1: "Red."}).official["perAnswerType"] == {"other": 100.0}
    assert benchmark.prompt(benchmark.items()[0]).text.endswith("single word or phrase.")
    with pytest.raises(DataError, match=r"a.json: annotations, entry 1: 'answers' must be objects with an 'answer'"):
        vqa(tmp_path, annotation | {"answers": ["red"]}).items()
    with pytest.raises(DataError, match=r"has no question 7"):
        vqa(tmp_path, annotation | {"question_id": 7}).items()


def test_two_tables_with_the_same_index_do_not_share_an_image(world: Path, tmp_path: Path) -> None:
    images = sorted((world / "images").iterdir())
    found = []
    for number in (0, 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = table(folder, image=base64.b64encode(images[number].read_bytes()).decode())
        (item,) = MMStar(path, tmp_path / "extracted", partial=True).items()
        assert item.image is not None
        found.append(item.image.path.read_bytes())
    assert found == [images[0].read_bytes(), images[1].read_bytes()]


def test_the_gain_is_the_difference_to_the_same_model_without_images(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.__main__ import main
    from evalkit.harness.stages import evaluate

    monkeypatch.chdir(tmp_path)
    right = {item.id: item.reference["answer"] for item in MMStar.miniature(world).items()}
    for label, blind in (("seeing", False), ("blind", True)):
        engine = ScriptedEngine(lambda p, s: right[p.id] if p.images else "A", label)
        benchmark = MMStar.miniature(world, without_images=blind)
        found = evaluate(benchmark, engine, tmp_path / label / "mmstar", label=label)
    assert found.metrics["accuracy"].value != 100
    assert main(["compare", "blind/mmstar", "seeing/mmstar", "--allow", "blind"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["compare", "blind/mmstar", "seeing/mmstar"]) == 1


def test_leakage_is_what_the_blind_model_knows_beyond_its_language_model(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evalkit.__main__ import main
    from evalkit.harness.stages import evaluate

    monkeypatch.chdir(tmp_path)
    items = MMStar.miniature(world).items()
    right = {item.id: item.reference["answer"] for item in items}
    known = {"vlm": set(list(right)[: len(right) // 2]), "llm": set(list(right)[: len(right) // 4])}
    for label, model, blind in (("seeing", "vlm", False), ("blind", "vlm", True), ("text", "llm", True)):

        def answer(prompt: Prompt, sampling: object, model: str = model) -> str:
            return right[prompt.id] if prompt.images or prompt.id in known[model] else "unknown"

        benchmark = MMStar.miniature(world, without_images=blind)
        evaluate(benchmark, ScriptedEngine(answer, model), tmp_path / label / "mmstar", label=label)
    runs = [f"{label}/mmstar" for label in ("blind", "seeing", "text")]
    assert main(["compare", *runs[:2], "--text-only", runs[2], "--format", "json"]) == 0
    found = {row["metric"]: row for row in json.loads(capsys.readouterr().out)["leakage"]}
    share = {model: 100 * len(ids) / len(right) for model, ids in known.items()}
    assert found["accuracy"]["gain"]["value"] == pytest.approx(100 - share["vlm"])
    assert found["accuracy"]["leakage"]["value"] == pytest.approx(share["vlm"] - share["llm"])
    assert 0 <= found["accuracy"]["leakage"]["low"] < found["accuracy"]["leakage"]["high"]
    assert main(["compare", *runs[:2], "--text-only", runs[2]]) == 0
    assert "if text is the language model of seeing" in " ".join(capsys.readouterr().out.split())
    for wrong, said in (
        ((runs[1], runs[0], runs[2]), "seeing should be a run without images"),
        ((runs[0], runs[1], runs[0]), "blind is of vlm itself"),
        ((runs[2], runs[1], runs[0]), "are of two models, llm and vlm"),
    ):
        assert main(["compare", *wrong[:2], "--text-only", wrong[2]]) == 1
        assert said in capsys.readouterr().err
