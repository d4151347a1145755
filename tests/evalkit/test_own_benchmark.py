"""A benchmark is one file and one line in the registry: every command and the dashboard know it then."""

import json
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks import BENCHMARKS
from evalkit.__main__ import main
from evalkit.benchmark import Benchmark, Judged, adopted
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate
from evalkit.schema import Prompt
from tests.toy import ToyBenchmark, ToyEngine

SOURCE = '''
"""Fruit: names of fruit that are in no bowl (made up).

Item    a question about a bowl
"""

from evalkit.benchmark import Benchmark, DataFile, Rating
from evalkit.engines.replay import ScriptedEngine
from evalkit.formats import exporters
from evalkit.formats.answers import Format
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Finding, Item, Score


class Fruit(Benchmark):
    """The benchmark."""

    name = "fruit"
    metrics = (Metric("wrong_fruit", "100 * wrong / fruit", False, role="rate"),)
    sampling = Sampling(max_new_tokens=8)
    files = (DataFile("bowls", "fruit/bowls.txt", "made up"),)
    formats = (Format("fruit", "bowl and says", (("bowl",), ("says",)), ("says",), (("id", ("bowl",)),)),)
    exports = (exporters.Export(lambda r: {"bowl": r["id"], "says": r["response"]["text"]}, ("bowl",), ".jsonl", "-",
                                name="fruit"),)
    rating = Rating("wrong", above=1)
    present = ("fruit_in_bowl",)

    def __init__(self, bowls=None):
        self.bowls = bowls

    def items(self):
        return [Item(str(n), "What is in the bowl?", None, {"fruit_in_bowl": ["apple", "pear"]}) for n in range(4)]

    def needs_image(self, item):
        return False

    def score(self, item, response, reply=None):
        named = response.split()
        wrong = [word for word in named if word not in item.reference["fruit_in_bowl"]]
        spans = [Finding(response.index(w), response.index(w) + len(w), "hallucinated", w) for w in wrong]
        return Score({"fruit": len(named), "wrong": len(wrong)}, tuple(spans))


def engine(model):
    return ScriptedEngine(lambda prompt, sample: "apple kiwi fig" if int(prompt.id) % 2 else "apple", model)
'''


@pytest.fixture
def fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module on the path, the registry's line, and nothing else."""
    (tmp_path / "own_fruit.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(BENCHMARKS, "fruit", "own_fruit:Fruit")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_fruit", None)


def program(words: str) -> int:
    return main(words.split())


def test_it_shows_up_in_every_command(fruit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(words: str, code: int = 0) -> str:
        assert program(words) == code, words
        return capsys.readouterr().out

    assert "fruit            Fruit: names of fruit that are in no bowl" in said("list")
    assert "wrong_fruit" in said("list fruit")
    assert "bowls" in said("list fruit")
    (fruit / "data").mkdir()
    assert f"-- fruit            {Path('data')}/fruit/bowls.txt: made up" in said("doctor fruit --data data", 3)
    assert "fruit: 4 generations" in said("run --tasks fruit --model m --engine own_fruit:engine --dry-run")
    assert "wrong_fruit" in said("run --tasks fruit --model first --engine own_fruit:engine")
    assert "wrong_fruit" in said("score runs/first/fruit --rescore")
    (fruit / "answers.jsonl").write_text("".join(f'{{"bowl": {n}, "says": "apple fig"}}\n' for n in range(4)))
    assert "50.0" in said("score fruit --responses answers.jsonl --label second")
    assert "wrong_fruit" in said("report runs")
    assert "wrong_fruit" in said("compare runs/first/fruit runs/second/fruit --force")
    assert "\nfruit " in said("export --format list")
    (written,) = said("export runs/first/fruit --format fruit").split()
    rows = [json.loads(line) for line in Path(written).read_text().splitlines()]
    assert rows[1] == {"bowl": "1", "says": "apple kiwi fig"}
    (fruit / "people.jsonl").write_text("".join(f'{{"id": "{n}", "rating": {2 * (n % 2)}}}\n' for n in range(4)))
    assert "rate             judge 50.0 %, reference 50.0 %" in said("calibrate-judge runs/first/fruit people.jsonl")


def test_a_stored_run_of_it_is_scored_without_the_registry(fruit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("run --tasks own_fruit:Fruit --model first --engine own_fruit:engine") == 0
    del BENCHMARKS["fruit"]
    capsys.readouterr()
    score, export = "score runs/first/fruit --rescore", "export runs/first/fruit --format fruit"
    for words, refusal in ((score, "repeat the name with --benchmark"), (export, "unknown format 'fruit'")):
        assert program(words) == 1  # a run folder starts no code by itself
        said = capsys.readouterr()
        assert refusal in said.err
        assert "wrong_fruit" not in said.out
    assert program(f"{score} --benchmark own_fruit:Fruit") == 0
    assert "wrong_fruit" in capsys.readouterr().out
    assert program(f"{export} --benchmark own_fruit:Fruit") == 0
    assert len(Path(capsys.readouterr().out.strip()).read_text().splitlines()) == 4


def test_the_dashboard_shows_what_is_present_and_what_is_not(fruit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboard.frames.records import hallucinated_objects, present_objects
    from dashboard.reading.runs import find
    from dashboard.reading.shown import Shown
    from evalkit.runs.run import load_run

    assert program("run --tasks fruit --model first --engine own_fruit:engine") == 0
    run = load_run(fruit / "runs" / "first" / "fruit")
    assert present_objects(run.rows[1]) == ["apple", "pear"]
    assert hallucinated_objects(run.rows[1]) == {"kiwi", "fig"}
    assert [found.benchmark for found in find(Shown((fruit / "runs",))).runs] == ["fruit"]
    monkeypatch.setattr(sys, "argv", ["app.py", str(fruit / "runs")])
    app = AppTest.from_file(str(Path(__file__).parents[2] / "dashboard" / "app.py"), default_timeout=120).run()
    assert not app.exception
    assert "wrong_fruit" in "".join(str(element.value) for element in (*app.markdown, *app.get("html")))


class WithoutBase:
    """A benchmark from before the base class: methods by name."""

    name, sampling, metrics = "toy", ToyBenchmark.sampling, ToyBenchmark.metrics
    __init__ = ToyBenchmark.__init__
    items, prompt, score, settings = (getattr(ToyBenchmark, name) for name in ("items", "prompt", "score", "settings"))


class JudgedWithoutBase(WithoutBase):
    """The same with a judge."""

    def judge_prompt(self, item, response): ...
    def judge_sampling(self): ...
    def check_reply(self, reply): ...


def test_one_that_was_written_before_the_base_class_gets_its_defaults(tmp_path: Path) -> None:
    summary = evaluate(WithoutBase(3), ToyEngine(tmp_path / "log"), tmp_path / "run")  # type: ignore[arg-type]
    assert summary.n_scored == 3
    assert not isinstance(adopted(WithoutBase()), Judged)
    assert isinstance(adopted(JudgedWithoutBase()), Judged)
    own = ToyBenchmark()
    assert adopted(own) is own


class Twice(ToyBenchmark, Judged):
    """A benchmark with a second question to the judge, about the first one's reply."""

    def judge_prompt(self, item, response):
        return Prompt(item.id, f"first {item.id}")

    def judge_sampling(self):
        return self.sampling

    def check_reply(self, reply):
        return None

    def further_rounds(self):
        return [SecondRound()]

    def score_rounds(self, item, response, replies):
        return super().score(item, " ".join(replies.get(name, "none") for name in ("", "again")))


class SecondRound:
    name = "again"

    def prompt(self, item, response, replies, responses):
        return Prompt(item.id, f"again {item.id} {replies['']} {len(responses)}")

    def judge_sampling(self):
        return ToyBenchmark.sampling

    def check_reply(self, reply):
        return None


def test_a_further_round_gets_the_reply_of_the_first_and_is_not_asked_twice(tmp_path: Path) -> None:
    from evalkit.engines.replay import ScriptedEngine

    judge = ScriptedEngine(lambda prompt, sample: None if prompt.text == "first 1" else f"w{len(prompt.text)}")
    for _ in range(2):
        summary = evaluate(Twice(3), ToyEngine(tmp_path / "log"), tmp_path / "run", Judge(judge, retries=0))
    rows = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert [row["score"]["failure"] is None for row in rows] == [True, False, True]
    assert rows[0]["verdict"]["rounds"]["again"]["reply"] == "w12"
    assert summary.failures == {"judge": 1}
    assert len(judge.asked) == 3 + 2 + 1  # the failed one again


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_derives_from_the_base_class(name: str) -> None:
    from benchmarks.cli.registry import benchmark_class

    assert issubclass(benchmark_class(name), Benchmark)
    assert benchmark_class(name).name == name
