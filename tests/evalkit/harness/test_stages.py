"""A run can be stopped anywhere and goes on; failures are counted, not scored; other settings are refused."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evalkit.engines.served.groups import PromptTokens
from evalkit.errors import DataError, EngineError, RecordError, StoppedError, UsageError
from evalkit.harness.judge import Judge
from evalkit.harness.results import sample_row
from evalkit.harness.stages import evaluate, generate, plan, score
from evalkit.images import ImageFile
from evalkit.runs.records import read_journal, read_manifest
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Response, Sample, Score
from tests.toy import ToyBenchmark, ToyEngine

ROOT = Path(__file__).resolve().parents[3]


def records(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "records.jsonl").read_text().splitlines()]


def metrics(run_dir: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text())
    return loaded


def test_a_run_writes_records_in_item_order_and_metrics_from_summed_counts(tmp_path: Path) -> None:
    summary = evaluate(ToyBenchmark(6), ToyEngine(tmp_path / "log"), tmp_path / "run")
    assert [row["id"] for row in records(tmp_path / "run")] == ["0", "1", "2", "3", "4", "5"]
    # items 0 and 3 answer "dog", the other four "dog wN cat": 4 wrong words of 14
    assert summary.metrics["wrong_words"].value == pytest.approx(100 * 4 / 14)
    assert summary.metrics["length"].value == pytest.approx(14 / 6)
    stored = metrics(tmp_path / "run")
    assert stored["metrics"]["wrong_words"]["value"] == summary.metrics["wrong_words"].value
    assert stored["groups"]["parity"]["e"]["n"] == 3
    assert stored["sums"] == {"words": 14, "wrong": 4, "responses": 6}
    assert records(tmp_path / "run")[1]["score"]["findings"] == [
        {"start": 7, "end": 10, "label": "hallucinated", "note": ""}
    ]


@pytest.mark.parametrize("count", [math.nan, math.inf])
def test_a_count_that_is_not_finite_is_an_error_that_names_its_item(tmp_path: Path, count: float) -> None:
    class Undefined(ToyBenchmark):
        def score(self, item: Item, response: str, reply: str | None = None) -> Score:
            return Score({"words": count, "wrong": 0, "responses": 1})

    with pytest.raises(DataError, match=r"item '0': counts must be finite, got \{'words': (nan|inf)"):
        evaluate(Undefined(2), ToyEngine(tmp_path / "log"), tmp_path / "run")


def test_a_failed_generation_is_counted_and_not_scored(tmp_path: Path) -> None:
    summary = evaluate(ToyBenchmark(6), ToyEngine(tmp_path / "log", fail=["1", "2"]), tmp_path / "run")
    assert (summary.n_scored, summary.n_total) == (4, 6)
    assert summary.failures == {"generation": 2}
    failed = records(tmp_path / "run")[1]
    assert failed["response"] == {"text": None, "failure": "scripted failure", "finish": None, "tokens": None}
    assert failed["score"]["counts"] is None
    assert "scripted failure" in failed["score"]["failure"]
    assert summary.metrics["wrong_words"].value == pytest.approx(100 * 2 / 8)  # items 0, 3, 4, 5


def test_failed_responses_are_asked_for_again_and_finished_ones_are_not(tmp_path: Path) -> None:
    evaluate(ToyBenchmark(6), ToyEngine(tmp_path / "log", fail=["1", "2"]), tmp_path / "run")
    again = ToyEngine(tmp_path / "again")
    summary = evaluate(ToyBenchmark(6), again, tmp_path / "run")
    assert again.requests() == ["1", "2"]
    assert summary.n_scored == 6


def test_an_engine_that_dies_keeps_what_was_finished_and_the_same_call_goes_on(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="died"):
        evaluate(ToyBenchmark(10), ToyEngine(tmp_path / "log", die_at=8), tmp_path / "run")
    assert len(read_journal(tmp_path / "run" / "responses.jsonl")) == 8
    second = ToyEngine(tmp_path / "log2")
    evaluate(ToyBenchmark(10), second, tmp_path / "run")
    assert second.requests() == ["8", "9"]


def test_scoring_needs_every_response(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        evaluate(ToyBenchmark(10), ToyEngine(tmp_path / "log", die_at=8), tmp_path / "run")
    with pytest.raises(RecordError, match="2 of 10 responses are missing"):
        score(plan(ToyBenchmark(10)), tmp_path / "run")


@pytest.mark.parametrize(
    ("benchmark", "sampling", "field"),
    [
        (ToyBenchmark(7), None, "prompts"),
        (ToyBenchmark(6), Sampling(max_new_tokens=9), "max_new_tokens"),
        (ToyBenchmark(6), Sampling(max_new_tokens=8, seed=1), "seed"),
    ],
)
def test_a_directory_with_another_run_is_refused_by_the_field_that_differs(
    tmp_path: Path, benchmark: ToyBenchmark, sampling: Sampling | None, field: str
) -> None:
    evaluate(ToyBenchmark(6), ToyEngine(tmp_path / "log"), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RecordError, match=field):
        evaluate(benchmark, ToyEngine(tmp_path / "log"), tmp_path / "run", sampling=sampling)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_other_scoring_settings_need_rescore(tmp_path: Path) -> None:
    evaluate(ToyBenchmark(6), ToyEngine(tmp_path / "log"), tmp_path / "run")
    other = plan(ToyBenchmark(6, variant="other"))
    with pytest.raises(RecordError, match="variant 'plain' there, 'other' here"):
        score(other, tmp_path / "run")
    assert "variant:other" in score(other, tmp_path / "run", rescore=True).signature


class JudgedToy(ToyBenchmark):
    """Every response goes through a judge."""

    def judge_prompt(self, item: Item, response: str) -> Prompt:
        return Prompt(item.id, response)

    def judge_sampling(self) -> Sampling:
        return Sampling(max_new_tokens=8)

    def check_reply(self, reply: str) -> str | None:
        return None


class AgreeingJudge(ToyEngine):
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        return (Response(prompt.id, "right") for prompt in prompts)


def test_scoring_again_without_the_judge_asks_to_name_it(tmp_path: Path) -> None:
    judge = Judge(AgreeingJudge(tmp_path / "judge"))
    first = evaluate(JudgedToy(3), ToyEngine(tmp_path / "log"), tmp_path / "run", judge)
    with pytest.raises(RecordError, match="was scored with the judge 'toy'; name it with --judge"):
        score(plan(JudgedToy(3)), tmp_path / "run")
    assert score(plan(JudgedToy(3)), tmp_path / "run", judge).signature == first.signature


@pytest.mark.parametrize("libraries", [(), ("nltk",)])
def test_the_tokeniser_stands_in_the_signature_of_a_scorer_that_uses_it_alone(
    tmp_path: Path, libraries: tuple[str, ...]
) -> None:
    class Reading(ToyBenchmark):
        def libraries(self) -> tuple[str, ...]:
            return libraries

    summary = evaluate(Reading(2), ToyEngine(tmp_path / "log"), tmp_path / "run")
    assert ("|nltk:" in summary.signature) == bool(libraries)
    assert "|nltk:" not in evaluate(ToyBenchmark(2), ToyEngine(tmp_path / "log"), tmp_path / "plain").signature


def test_without_images_no_hash_of_them_is_claimed(tmp_path: Path) -> None:
    summary = evaluate(ToyBenchmark(2), ToyEngine(tmp_path / "log"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["images"] is None
    assert "|images:" not in summary.signature


def test_records_name_images_by_absolute_path_so_that_they_open_from_anywhere() -> None:
    item = Item("1", "What?", ImageFile(Path("some/images"), "a.png"), {})
    row = sample_row(Sample(item, Prompt("1", "What?"), Response("1", "a dog"), Score({})))
    assert row["image"] == {"folder": str(Path("some/images").absolute()), "name": "a.png"}


def test_several_responses_per_item_are_one_record_each(tmp_path: Path) -> None:
    sampling = Sampling(max_new_tokens=8, n=3, temperature=1.0)
    summary = evaluate(ToyBenchmark(4), ToyEngine(tmp_path / "log"), tmp_path / "run", sampling=sampling)
    rows = records(tmp_path / "run")
    assert [(row["id"], row["sample"]) for row in rows][:4] == [("0", 0), ("0", 1), ("0", 2), ("1", 0)]
    assert {row["cluster"] for row in rows} == {"0", "1", "2", "3"}
    assert summary.n_total == 12


def test_shards_cover_every_item_once() -> None:
    ids = [item.id for i in (1, 2, 3) for item in plan(ToyBenchmark(10), shard=(i, 3)).items]
    assert sorted(ids, key=int) == [str(i) for i in range(10)]


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_a_shard_outside_of_its_range_is_a_usage_error(shard: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="shard"):
        plan(ToyBenchmark(4), shard=shard)


def test_no_items_and_repeated_ids_are_data_errors() -> None:
    with pytest.raises(DataError, match="no items"):
        plan(ToyBenchmark(0))

    class Repeating(ToyBenchmark):
        def items(self) -> list[Item]:
            return super().items() * 2

    with pytest.raises(DataError, match="repeated: 0, 1"):
        plan(Repeating(2))


def test_a_signal_lets_the_batch_finish_and_the_same_call_goes_on(tmp_path: Path) -> None:
    engine = ToyEngine(tmp_path / "log", batch=4)

    def interrupt_at_five(what: str, done: int, total: int) -> None:
        if done == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(StoppedError, match="8 of 20 responses"):
        generate(plan(ToyBenchmark(20)), engine, tmp_path / "run", progress=interrupt_at_five)
    evaluate(ToyBenchmark(20), ToyEngine(tmp_path / "log"), tmp_path / "run")
    assert Counter(engine.requests()).most_common(1)[0][1] == 1


def test_twenty_kills_change_nothing_and_repeat_at_most_one_batch_each(tmp_path: Path) -> None:
    undisturbed, killed, log = tmp_path / "undisturbed", tmp_path / "killed", tmp_path / "log"
    evaluate(ToyBenchmark(300), ToyEngine(tmp_path / "other", batch=8), undisturbed)
    rng = random.Random(0)
    command = [sys.executable, "-m", "tests.evalkit.killed_run", str(killed), str(log), "300", "0.02"]
    kills = 0
    while kills < 20:
        started = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while process.poll() is None and (log.stat().st_size if log.exists() else 0) == started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        _, stderr = process.communicate(timeout=60)
        kills += 1
        assert process.returncode == -signal.SIGKILL, stderr.decode()
    subprocess.run([*command[:-1], "0"], cwd=ROOT, check=True, timeout=120)
    for name in ("records.jsonl", "metrics.json", "run.json"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    repeats = sum(count - 1 for count in Counter(log.read_text().split()).values())
    assert repeats <= 20 * 8


class CountingEngine(ToyEngine):
    """Was asked before; has read three quarters of its prompts earlier."""

    prompt_tokens = PromptTokens(1000, 7)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        for response in super().generate(prompts, sampling):
            self.prompt_tokens.add(8, 6)
            yield response


def test_tokens_that_the_engine_did_not_read_again_stand_in_the_manifest(tmp_path: Path) -> None:
    engine = CountingEngine(tmp_path / "log")
    evaluate(ToyBenchmark(4), engine, tmp_path / "run")
    assert read_manifest(tmp_path / "run")["prompt_tokens"] == {"given": 32, "spared": 24}
    (tmp_path / "run" / "responses.jsonl").write_text("")
    evaluate(ToyBenchmark(4), engine, tmp_path / "run")  # a second process adds what it was given
    assert read_manifest(tmp_path / "run")["prompt_tokens"] == {"given": 64, "spared": 48}
