"""`evalkit front`: captions in, the base cut short, a verdict, a picture, a file in the run."""

import base64
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.cli.front_commands import card_parent, parent_of
from evalkit.__main__ import main
from evalkit.analysis.front_file import stored_standings
from evalkit.errors import RecordError
from evalkit.runs.run import Run, load_run

BASE = "A dog sits on a couch. There is a cat beside it. A person walks past."
SYNONYMS = "dog, puppy\ncat\ncouch, sofa\nperson, man\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A synonyms table, references of 60 images, and captions of a base and of three other models."""
    (tmp_path / "synonyms.txt").write_text(SYNONYMS)
    (tmp_path / "references.json").write_text(json.dumps({str(n): ["dog", "couch"] for n in range(60)}))
    captions = {
        "base": [BASE if n % 3 else "A dog sits. A man walks past the couch." for n in range(60)],
        "shorter": ["A dog sits on a couch." if n % 3 else "A dog sits." for n in range(60)],
        "better": ["A dog sits on a couch. It sleeps." for _ in range(60)],
        "empty": ["" for _ in range(60)],
    }
    for name, texts in captions.items():
        rows = [{"image_id": n, "caption": text} for n, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert score(tmp_path, name) == 0
    return tmp_path


def score(folder: Path, name: str, *more: str) -> int:
    command = f"score chair --responses {folder}/{name}.jsonl --references {folder}/references.json"
    command += f" --set chair.synonyms={folder}/synonyms.txt --variant singularize --output-path {folder}/runs"
    return main([*command.split(), *more])


def front(folder: Path, *names: str, **options: str) -> int:
    runs = [f"{folder}/runs/{name}/chair" for name in names]
    return main(["front", *runs, *(part for key, value in options.items() for part in (f"--{key}", value))])


def test_the_curve_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert front(data, "base") == 0
    printed = capsys.readouterr().out
    assert "base cut after n sentences" in printed
    assert "base cut after n words" in printed
    assert "beside" not in printed


def test_verdicts_are_printed_and_kept_in_the_runs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert front(data, "shorter", "better", "empty", base=f"{data}/runs/base/chair") == 0
    printed = capsys.readouterr().out
    assert "better: less hallucination than the base that simply stops earlier: -" in printed
    assert "shorter: no better than the base that simply stops earlier" in printed
    verdicts = {}
    for name in ("shorter", "better", "empty"):
        (standing,) = json.loads((data / "runs" / name / "chair" / "front.json").read_text())["standings"]
        verdicts[name] = standing["verdict"]
    assert verdicts == {"shorter": "on", "better": "beyond", "empty": "on"}


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture(data: Path, suffix: str) -> None:
    picture = data / f"front.{suffix}"
    assert front(data, "better", base=f"{data}/runs/base/chair", plot=str(picture), metric="chair_i") == 0
    if suffix == "png":
        with Image.open(picture) as image:
            assert image.size == (1520, 960)
    else:
        text = picture.read_text()
        assert text.startswith("<svg")
        assert "better" in text
        assert "script" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plot": "front.gif"}, "a picture ends in .svg or .png"),
        ({"plot": "front.png", "metric": "recall"}, "'recall' is not compared; compared are chair_s, chair_i"),
    ],
)
def test_what_cannot_be_drawn(data: Path, capsys, options: dict[str, str], message: str) -> None:
    assert front(data, "better", base=f"{data}/runs/base/chair", **options) == 1
    assert message in capsys.readouterr().err


def test_runs_measured_otherwise_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.dumps({"image_id": n, "caption": "A dog."}) + "\n" for n in range(59)]
    (data / "fewer.jsonl").write_text("".join(rows))
    assert score(data, "fewer") == 0
    assert front(data, "fewer", base=f"{data}/runs/base/chair") == 1
    assert "not measured alike: n (items): 60 against 59" in capsys.readouterr().err.replace("number of ", "")


def test_several_runs_need_a_base(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert front(data, "shorter", "better") == 1
    assert "need a --base" in capsys.readouterr().err


def test_a_run_scored_before_there_were_fronts_is_cut_now(data: Path) -> None:
    path = data / "runs" / "base" / "chair" / "front.json"
    before = json.loads(path.read_text())
    path.unlink()
    assert front(data, "better", base=f"{data}/runs/base/chair") == 0
    assert json.loads(path.read_text()) == before


def test_the_base_of_a_checkpoint_is_its_cards_parent(data: Path) -> None:
    checkpoint = data / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "card.json").write_text(json.dumps({"parent": "some/base"}))
    for name, model in (("base", "some/base"), ("better", str(checkpoint))):
        path = data / "runs" / name / "chair" / "run.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps(manifest | {"model": {"model": model}}))
        assert main(["score", str(path.parent)]) == 0
    better = load_run(data / "runs" / "better" / "chair")
    assert card_parent(better) == "some/base"
    assert parent_of([better]) == data / "runs" / "base" / "chair"
    assert parent_of([Run({"model": {"model": "no/card"}}, [])]) is None


def decoded(run: Path, temperature: float, model: str = "some/base") -> None:
    """Let a run be one that was made at this temperature."""
    manifest = json.loads((run / "run.json").read_text())
    sampling = manifest["sampling"] | {"temperature": temperature}
    (run / "run.json").write_text(json.dumps(manifest | {"model": {"model": model}, "sampling": sampling}))
    assert main(["score", str(run)]) == 0


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """POPE with 40 questions: a base that samples, a method on top, and the base greedily, which does all the same."""
    rows = [
        {"question_id": n, "image": f"{n}.jpg", "text": "Is there a dog?", "label": ("no", "yes")[n % 2]}
        for n in range(40)
    ]
    (tmp_path / "coco_pope_random.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wrong = {"sampled": 4, "greedy": 20, "method": 20}  # every so many questions one is answered wrong
    for name, every in wrong.items():
        answers = ["Yes" if (n % 2 == 1) != (n % every in (0, 1)) else "No" for n in range(40)]
        said = [{"question_id": row["question_id"], "text": answer} for row, answer in zip(rows, answers, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
        command = f"score pope --responses {tmp_path}/{name}.jsonl --set pope.data={tmp_path}"
        assert main([*command.split(), "--set", "pope.splits=random", "--output-path", f"{tmp_path}/runs"]) == 0
        decoded(tmp_path / "runs" / name / "pope", 0.0 if name == "greedy" else 1.0)
    return tmp_path / "runs"


def test_greedy_decoding_stands_beside_a_method(questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {name: str(questions / name / "pope") for name in ("sampled", "greedy", "method")}
    capsys.readouterr()
    assert main(["front", runs["method"], "--base", runs["sampled"], "--greedy", runs["greedy"]]) == 0
    printed = capsys.readouterr().out
    same = "better than the base with its answers shifted blindly: +40.0"
    assert f"method: {same}" in printed
    assert f"sampled, greedy: {same}" in printed


def test_what_is_no_greedy_run_of_the_base(questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {name: str(questions / name / "pope") for name in ("sampled", "greedy", "method")}
    command = ["front", runs["method"], "--base", runs["sampled"], "--greedy"]
    assert main([*command, runs["method"]]) == 1
    assert "takes the greedy run of a base that samples; temperature 1 there, 1 in the base" in capsys.readouterr().err
    decoded(questions / "greedy" / "pope", 0.0, "another/model")
    assert main([*command, runs["greedy"]]) == 1
    assert "it is another/model, not some/base" in capsys.readouterr().err


def test_the_page_of_runs_shows_the_front_of_their_base(data: Path) -> None:
    page = data / "page.html"
    runs = [str(data / "runs" / name / "chair") for name in ("base", "better", "shorter")]
    assert main(["report", *runs, "--html", str(page)]) == 0
    assert "image/svg" not in page.read_text()  # nobody said which of them is the base
    assert front(data, "better", "shorter", base=f"{data}/runs/base/chair") == 0
    assert main(["report", *runs, "--html", str(page)]) == 0
    (picture,) = re.findall(r'alt="the front of base"[^>]*src="data:image/svg\+xml;base64,([^"]*)"', page.read_text())
    drawn = base64.b64decode(picture).decode()
    assert ">better<" in drawn
    assert ">shorter<" in drawn
    assert "<li>better: less hallucination than the base that simply stops earlier: -" in page.read_text()
    assert "<li>shorter: no better than the base that simply stops earlier" in page.read_text()


def test_standings_that_name_no_base_are_refused(data: Path) -> None:
    path = data / "runs" / "better" / "chair"
    content = json.loads((path / "front.json").read_text())
    (path / "front.json").write_text(json.dumps(content | {"standings": [{"verdict": "beyond"}]}))
    with pytest.raises(RecordError, match="standings without a base"):
        stored_standings(load_run(path))


def test_a_benchmark_without_a_front_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "runs" / "m" / "mmhal"
    run.mkdir(parents=True)
    assert main(["front", str(run)]) == 3
    assert "run.json is missing" in capsys.readouterr().err


def test_a_run_of_failures_has_nothing_to_cut(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "failed.jsonl").write_text("".join(json.dumps({"image_id": n, "caption": None}) + "\n" for n in range(60)))
    assert score(data, "failed") == 2
    for runs in (("failed",), ("better",)):
        assert front(data, *runs, base=f"{data}/runs/failed/chair") == 1
        assert "no response has a score that could be cut short: all of them failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("caption", "recall"),
    [("Dog", 50.0), ("  \n", 0.0), ("Ein Hund liegt auf der Couch. Daneben ist eine Katze.", 50.0),
     ("一只狗坐在沙发上。旁边有一只猫。", 0.0), ("<think>A cat?</think>A dog.", 50.0)],
)  # fmt: skip
def test_odd_captions_are_not_beyond(data: Path, caption: str, recall: float) -> None:
    rows = [json.dumps({"image_id": n, "caption": caption}) + "\n" for n in range(60)]
    (data / "odd.jsonl").write_text("".join(rows))
    assert score(data, "odd") == 0
    assert front(data, "odd", base=f"{data}/runs/base/chair", output=f"{data}/out.json", format="json") == 0
    ((placed,),) = [found["runs"] for found in json.loads((data / "out.json").read_text())]
    assert (placed["verdict"], placed["metrics"][0]["level"]) == ("on", recall)


def test_verdicts_on_whole_responses_are_not_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"index": n, "question": "What? Options: A: x, B: y", "answer": "A", "category": "c"} for n in range(4)]
    lines = [json.dumps(row | {"l2_category": "d"}) + "\n" for row in rows]
    (tmp_path / "mmstar.jsonl").write_text("".join(lines))
    (tmp_path / "m.jsonl").write_text("".join(json.dumps({"index": n, "prediction": "A"}) + "\n" for n in range(4)))
    command = f"score mmstar --responses {tmp_path}/m.jsonl --set mmstar.data={tmp_path}/mmstar.jsonl"
    command += " --set mmstar.without_images=true --set mmstar.partial=true"
    assert main([*command.split(), "--output-path", f"{tmp_path}/runs"]) == 0
    assert main(["front", f"{tmp_path}/runs/m/mmstar"]) == 1
    said = capsys.readouterr().err
    assert "mmstar has no front: its verdicts are on whole responses, and a cut one would need new" in said


def test_a_judged_run_is_cut_without_its_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Object HalBench by word lists of a review file; the objects of the second sentence are hallucinated."""
    text = "A puppy sits on the grass. There is a wooden chair beside it."
    for name, said in (("base", [text] * 30), ("tuned", [text.replace("a wooden chair", "nothing at all")] * 30)):
        sentences = [
            {
                "image_id": n,
                "question": "Describe it.",
                "caption": answer,
                "mscoco_generated_words": [["puppy", "dog"], *([["chair", "chair"]] if "chair" in answer else [])],
            }
            for n, answer in enumerate(said)
        ]
        (tmp_path / f"hall_{name}_-1.json").write_text(json.dumps({"sentences": sentences}))
    (tmp_path / "synonyms.txt").write_text("dog, puppy\nchair\n")
    (tmp_path / "references.json").write_text(json.dumps({str(n): ["dog"] for n in range(30)}))
    questions = [{"image_id": n, "question": "Describe it.", "img_path": f"{n}.jpg"} for n in range(30)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    options = {"data": "data.jsonl", "synonyms": "synonyms.txt", "references": "references.json"}
    sets = [part for key, path in options.items() for part in ("--set", f"object_halbench.{key}={tmp_path}/{path}")]
    sets += [part for key in ("without_images", "partial") for part in ("--set", f"object_halbench.{key}=true")]
    for name in ("base", "tuned"):
        review = tmp_path / f"hall_{name}_-1.json"
        command = f"score object_halbench --responses {review} --judge-texts {review} --output-path {tmp_path}/runs"
        assert main([*command.split(), "--label", name, *sets, "--set", "object_halbench.prompt=own"]) == 0
    base, tuned = (tmp_path / "runs" / name / "object_halbench" for name in ("base", "tuned"))
    (base / "front.json").unlink()
    capsys.readouterr()
    assert main(["front", str(tuned), "--base", str(base)]) == 0
    assert "no better than the base that simply stops earlier: 0.0 [0.0, 0.0] chair_s_refine" in capsys.readouterr().out
    signatures = [load_run(path).signature for path in (base, tuned)]  # the texts differ, as the responses do
    assert len({one.short() for one in signatures}) == 1
    assert len({one.subject["judge.texts"] for one in signatures}) == 2
