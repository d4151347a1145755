"""RefoMB: two rounds, what is lost in each, controls, bad files."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.refomb import RefoMB
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import DataError
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world

LINE = {
    "image_url": "https://example.org/a/b_20.jpg", "question": "What is it?", "description": "A dog.",
    "type": "OCR", "split": "dev", "id": 0, "answer": "A dog.",
}  # fmt: skip
FIRST, SECOND = "compare the answers", "review that compares"  # words of the two own prompts


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "reference.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines or (LINE, LINE | {"id": 1, "question": "Who?"})))
    return path


def run(tmp_path: Path, say: Any, **options: Any) -> dict[str, Any]:
    benchmark = RefoMB(write(tmp_path), without_images=True, prompt="own", partial=True, **options)
    judge = Judge(ScriptedEngine(lambda prompt, sample: say(prompt.text)), retries=0)
    evaluate(benchmark, ScriptedEngine(lambda p, s: "A cat<|endoftext|>"), tmp_path / "run", judge)
    return dict(json.loads((tmp_path / "run" / "metrics.json").read_text()))


def test_the_second_round_reads_the_first_and_nothing_else(tmp_path: Path) -> None:
    seen = []

    def say(text: str) -> str:
        seen.append(text)
        return "B is better: [[B]]" if FIRST in text else "[[A]]"

    found = run(tmp_path, say)
    assert (found["metrics"]["win_rate"]["value"], found["metrics"]["trustworthiness"]["value"]) == (100, 0)
    assert found["official"]["overall"]["printed"] == "1.000"
    second = [text for text in seen if SECOND in text]
    assert all("B is better: [[B]]" in text and "A dog." not in text for text in second)
    assert any("A cat<EOT>" in text for text in seen)


def test_an_item_lost_in_the_second_round_keeps_its_first_verdict(tmp_path: Path) -> None:
    found = run(tmp_path, lambda text: "[[C]]" if FIRST in text else "none of them")
    assert (found["metrics"]["win_rate"]["value"], found["metrics"]["trustworthiness"]["value"]) == (50, None)


def test_an_item_lost_in_the_first_round_is_a_failure_and_goes_no_further(tmp_path: Path) -> None:
    asked = []

    def say(text: str) -> str:
        asked.append(text)
        return "no verdict" if "Who?" in text else "[[B]]"

    found = run(tmp_path, say)
    assert (found["n_scored"], found["n_total"], sum(found["failures"].values())) == (1, 2, 1)
    assert sum(SECOND in text for text in asked) == 1


def test_a_judge_that_always_likes_the_first_shows_it_when_the_sides_are_exchanged(tmp_path: Path) -> None:
    found = run(tmp_path, lambda text: "[[A]]", control="swap")["metrics"]
    assert (found["win_rate"]["value"], found["swapped_win_rate"]["value"]) == (0, 100)
    assert found["order_agreement"]["value"] == 0


def test_every_run_asks_what_the_first_asks(tmp_path: Path) -> None:
    bench = RefoMB(write(tmp_path, LINE), prompt="own", partial=True, judge_runs=2, control="swap")
    (item,) = bench.items()
    response = "A dog.<|endoftext|>"
    first = bench.judge_prompt(item, response)
    _, again, swapped = (further.prompt(item, response, {"": "[[B]]"}, {}) for further in bench.further_rounds())
    assert again is not None
    assert again.text == first.text
    assert swapped is not None
    assert "A dog.<EOT>" in swapped.text
    assert "<|endoftext|>" not in swapped.text


def test_the_reference_on_both_sides_should_win_half_of_the_time(tmp_path: Path) -> None:
    assert run(tmp_path, lambda text: "[[A]]", control="self")["metrics"]["self_win_rate"]["value"] == 0
    (tmp_path / "fair").mkdir()
    assert run(tmp_path / "fair", lambda text: "[[C]]", control="self")["metrics"]["self_win_rate"]["value"] == 50


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"id": "x"}, r"reference.jsonl:1: 'id' must be an integer"),
        ({"answer": " "}, r":1: the reference answer is empty; is it the form"),
        ({"image_url": "http://[x"}, r":1: 'image_url' is not an address"),
        ({"question": 3}, r":1: 'question' must be a string"),
    ],
)
def test_bad_lines_are_refused_with_their_place(line: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        RefoMB(write(tmp_path, LINE | line), prompt="own", partial=True).items()


def test_a_repeated_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r":2: id 1 or its question stands already at .*:1"):
        RefoMB(write(tmp_path, LINE, LINE | {"id": 1}), prompt="own", partial=True).items()
    with pytest.raises(DataError, match="expected 99 lines, found 2"):
        RefoMB(write(tmp_path), prompt="own").items()


def test_the_reference_itself_is_a_tie_in_the_miniature_world(tmp_path: Path) -> None:
    from benchmarks.judges.rules import RulesJudge

    benchmark = RefoMB.miniature(write_world(tmp_path / "world", 4, 0))
    said = {item.id: str(item.reference["answer"]) for item in benchmark.items()}
    found = evaluate(benchmark, ScriptedEngine(lambda p, s: said[p.id]), tmp_path / "run", Judge(RulesJudge()))
    assert (found.metrics["win_rate"].value, found.metrics["trustworthiness"].value) == (50, 50)
