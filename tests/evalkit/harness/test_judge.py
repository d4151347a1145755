"""The judge: bounded asking, everything kept, nothing paid twice."""

import json
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from faulty_server import FAULTS, FaultyServer

from evalkit.engines.openai import OpenAIEngine
from evalkit.errors import BudgetReachedError, StoppedError, UsageError
from evalkit.files.cache import Cache
from evalkit.harness.judge import Judge, JudgeRequest, verdict_key
from evalkit.harness.prices import Budget, Price
from evalkit.runs.checksums import unsealed
from evalkit.runs.records import Journal
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

KEY = "sk-judge-secret-987654321"
SAMPLING = Sampling(max_new_tokens=20)


def requests_for(count: int) -> list[JudgeRequest]:
    return [JudgeRequest(f"item{n}", 0, Prompt(f"item{n}#0", f"Rate answer {n}.")) for n in range(count)]


class Rated:
    """The judged side of a benchmark: a reply must hold a rating."""

    def judge_prompt(self, item: Any, response: str) -> Prompt | None:
        return None

    def judge_sampling(self) -> Sampling:
        return SAMPLING

    def check_reply(self, reply: str) -> str | None:
        return None if "Rating:" in reply else "no rating"


@dataclass
class Scripted:
    """An engine that says what it is told, in order, per prompt text; the last reply repeats."""

    script: Mapping[str, Sequence[str | None]]
    name: str = "scripted"
    seeds: list[int] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, "model": "scripted"}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        self.seeds.append(sampling.seed)
        for prompt in prompts:
            replies = self.script[prompt.text]
            text = replies[min(self.calls[prompt.text], len(replies) - 1)]
            self.calls[prompt.text] += 1
            yield Response(prompt.id, text, failure=None if text is not None else "broken")

    def stop(self) -> None:
        pass


class Rows:
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def append(self, row: Mapping[str, Any]) -> None:
        self.rows.append(json.loads(json.dumps(row)))


@pytest.mark.parametrize(
    ("replies", "calls", "row"),
    [
        (["Rating: 1"], 1, {"reply": "Rating: 1"}),
        (["hm", "Rating: 2"], 2, {"reply": "Rating: 2"}),
        (["hm", "well", "so"], 3, {"reply": "so", "unreadable": "no rating"}),
        ([None], 1, {"failure": "broken (after 1 attempts)"}),
        (["hm", None], 2, {"failure": "broken (after 2 attempts)"}),
    ],
)
def test_an_unreadable_reply_is_asked_for_again_a_bounded_number_of_times(replies, calls, row):
    engine = Scripted({"q": replies})
    journal = Rows()
    rows = Judge(engine, retries=2).rule([JudgeRequest("a", 0, Prompt("a#0", "q"))], Rated(), journal)
    (stored,) = journal.rows
    assert rows == {("a", 0): stored}
    assert [attempt["raw"] for attempt in stored["attempts"]] == list(replies[:calls])
    assert {name: stored[name] for name in ("reply", "unreadable", "failure") if name in stored} == row
    assert engine.calls["q"] == calls
    assert engine.seeds == list(range(calls))


def test_requests_with_the_same_content_are_asked_once():
    engine = Scripted({"q": ["Rating: 1"]})
    requests = [JudgeRequest(name, 0, Prompt(f"{name}#0", "q")) for name in "abc"]
    assert len(Judge(engine).rule(requests, Rated(), Rows())) == 3
    assert engine.calls["q"] == 1


def test_finished_verdicts_are_taken_from_the_journal_and_failed_ones_asked_again():
    journal = Rows()
    requests = [JudgeRequest(name, 0, Prompt(f"{name}#0", name)) for name in "abc"]
    Judge(Scripted({"a": ["Rating: 1"], "b": [None], "c": ["hm"]}), retries=0).rule(requests, Rated(), journal)
    engine = Scripted({"a": ["Rating: 5"], "b": ["Rating: 6"], "c": ["Rating: 5"]})
    rows = Judge(engine).rule(requests, Rated(), journal)
    assert {key: row["reply"] for key, row in rows.items()} == {
        ("a", 0): "Rating: 1",
        ("b", 0): "Rating: 6",
        ("c", 0): "hm",
    }
    assert engine.calls == {"b": 1}


@pytest.mark.parametrize("change", ["prompt", "sampling", "model"])
def test_a_stored_verdict_of_another_question_is_not_reused(change):
    first, second = Prompt("a", "q"), Prompt("a", "Q" if change == "prompt" else "q")
    who = {"model": "m"}, {"model": "other" if change == "model" else "m"}
    how = Sampling(), Sampling(temperature=1.0) if change == "sampling" else Sampling()
    assert verdict_key(who[0], first, how[0]) != verdict_key(who[1], second, how[1])
    assert verdict_key(who[0], first, how[0]) == verdict_key({"model": "m"}, Prompt("another id", "q"), Sampling())


def test_the_cache_answers_what_an_earlier_run_asked(tmp_path):
    requests = [JudgeRequest(name, 0, Prompt(f"{name}#0", name)) for name in "ab"]
    script = {"a": ["hm", "Rating: 1"], "b": [None]}
    with Cache(tmp_path / "judge.sqlite") as cache:
        first = Scripted(script)
        rows = Judge(first, cache=cache).rule(requests, Rated(), Rows())
        second = Scripted(script | {"b": ["Rating: 3"]})
        again = Judge(second, cache=cache).rule(requests, Rated(), Rows())
    assert second.calls == {"b": 1}
    assert again["a", 0] == rows["a", 0]


def test_a_budget_of_calls_stops_cleanly_and_a_larger_one_goes_on(tmp_path):
    requests = requests_for(50)
    with FaultyServer(latency_s=0.005) as server, Cache(tmp_path / "cache.sqlite") as cache:
        engine = OpenAIEngine("judge", server.url, KEY, connections=8)
        with Journal(tmp_path / "verdicts.jsonl") as journal:
            with pytest.raises(BudgetReachedError, match=r"20 calls.*30 prompts not asked"):
                Judge(engine, cache=cache, budget=Budget(calls=20)).rule(requests, Rated(), journal)
            assert len(journal.rows) == sum(server.calls.values()) == 20
        with Journal(tmp_path / "verdicts.jsonl") as journal:
            assert len(Judge(engine, cache=cache).rule(requests, Rated(), journal)) == 50
    assert set(server.calls.values()) == {1}


@pytest.mark.parametrize("budget", [Budget(tokens=1500), Budget(usd=0.003, price=Price(1.0, 2.0))])
def test_a_budget_is_used_up_but_never_exceeded(budget):
    with FaultyServer(latency_s=0.002) as server:
        engine = OpenAIEngine("judge", server.url, KEY, connections=4)
        with pytest.raises(BudgetReachedError):
            Judge(engine, budget=budget).rule(requests_for(300), Rated(), Rows())
    spent = budget.spent_tokens / budget.tokens if budget.tokens < 1e9 else budget.spent_usd / budget.usd
    assert 0.9 < spent <= 1.0


def test_stopping_keeps_what_was_finished(tmp_path):
    requests = requests_for(60)
    with FaultyServer(latency_s=0.005) as server:
        judge = Judge(OpenAIEngine("judge", server.url, KEY, connections=4))
        with Journal(tmp_path / "verdicts.jsonl") as journal:
            with pytest.raises(StoppedError, match="of 60 verdicts"):
                judge.rule(requests, Rated(), journal, lambda what, done, total: judge.stop() if done == 10 else None)
            assert 10 <= len(journal.rows) == sum(server.calls.values()) < 30
            assert len(judge.rule(requests, Rated(), journal)) == 60
    assert set(server.calls.values()) == {1}


def test_faults_in_a_third_of_2000_calls_lose_nothing_and_pay_nothing_twice(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    requests = requests_for(2000)
    texts = {request.id: request.prompt.text for request in requests}
    journal_path, cache_path = tmp_path / "verdicts.jsonl", tmp_path / "cache.sqlite"
    attempts, halfway = 5, 1000
    kinds = (*FAULTS, *9 * tuple(kind for kind in FAULTS if kind != "timeout"))  # time-outs take time: a tenth as many
    with FaultyServer(faults=0.3, seed=11, kinds=kinds, hang_s=7, seconds=500) as server:
        for part in range(2):
            engine = OpenAIEngine(
                "judge", server.url, KEY, connections=32, attempts=attempts, timeout_s=5.0, backoff_s=0.005
            )
            with Journal(journal_path) as journal, Cache(cache_path) as cache:
                judge = Judge(engine, cache=cache)
                if part == 0:
                    with pytest.raises(StoppedError):
                        judge.rule(requests, Rated(), journal, _stop_at(judge, halfway))
                    assert halfway <= len(journal.rows) < 2000
                else:
                    rows = judge.rule(requests, Rated(), journal)
            engine.close()
    assert rows.keys() == {(request.id, 0) for request in requests}
    assert max(server.answered.values()) == 1  # no call that succeeded was repeated
    assert max(server.calls.values()) <= 2 * attempts  # a failed prompt is asked again by the resumed run, once
    for (name, _), row in rows.items():
        assert ("reply" in row) == (server.answered[texts[name]] == 1)
        assert all(attempt["error"] is None or attempt["error"] for attempt in row["attempts"])
    assert sum("failure" in row for row in rows.values()) < 20
    told = {attempt["model"] for row in rows.values() for attempt in row["attempts"]} - {None}
    assert told == {"another-model", "judge"}  # as the server reports them
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()
    assert KEY not in caplog.text


def _stop_at(judge: Judge, count: int):
    return lambda what, done, total: judge.stop() if done == count else None


def test_leaving_in_the_middle_repeats_only_what_was_in_flight(tmp_path):
    requests = requests_for(200)
    connections = 8
    with FaultyServer(latency_s=0.005) as server, Cache(tmp_path / "cache.sqlite") as cache:
        verdicts = Judge(OpenAIEngine("judge", server.url, KEY, connections=connections), cache=cache).verdicts(
            requests, SAMPLING, Rated().check_reply
        )
        done = [next(verdicts).id for _ in range(50)]
        verdicts.close()
        rest = [request for request in requests if request.id not in done]
        engine = OpenAIEngine("judge", server.url, KEY, connections=connections)
        done += [verdict.id for verdict in Judge(engine, cache=cache).verdicts(rest, SAMPLING, Rated().check_reply)]
    assert sorted(done) == sorted(request.id for request in requests)
    assert sum(server.calls.values()) <= len(requests) + connections


def test_a_forecast_counts_what_is_not_stored_yet(tmp_path):
    requests = requests_for(10)
    with Cache(tmp_path / "cache.sqlite") as cache:
        engine = Scripted({request.prompt.text: ["Rating: 1"] for request in requests})
        judge = Judge(engine, retries=2, cache=cache)
        before = judge.forecast(requests, SAMPLING, price=Price(1.0, 10.0))
        assert (before.requests, before.stored, before.calls) == (10, 0, (10, 30))
        assert before.tokens_in[0] < before.tokens_in[1]
        assert before.tokens_out == (200, 600)
        assert before.usd is not None
        assert 0 < before.usd[0] < before.usd[1]
        journal = Rows()
        judge.rule(requests[:4], Rated(), journal)
        assert judge.forecast(requests, SAMPLING).calls == (6, 18)
        assert Judge(engine).forecast(requests, SAMPLING, journal.rows).calls == (6, 18)
        assert sum(engine.calls.values()) == 4


def test_negative_retries_are_refused():
    with pytest.raises(UsageError):
        Judge(Scripted({}), retries=-1)


def test_a_journal_written_by_a_judge_holds_everything(tmp_path: Path):
    with FaultyServer() as server, Journal(tmp_path / "verdicts.jsonl") as journal:
        Judge(OpenAIEngine("judge", server.url, KEY)).rule(requests_for(1), Rated(), journal)
    (line,) = (tmp_path / "verdicts.jsonl").read_bytes().splitlines()
    row, has_checksum = unsealed(line)
    assert has_checksum
    assert row.keys() == {"id", "sample", "key", "reply", "attempts"}
    (attempt,) = row["attempts"]
    counted = {"tokens_in": 3, "tokens_out": 9, "finish": "stop"}
    assert attempt == {"raw": row["reply"], "model": "judge", "error": None, **counted}


CHILD = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests", sys.argv[1] + "/tests/evalkit/harness"]
from test_judge import KEY, Rated, requests_for
from evalkit.files.cache import Cache
from evalkit.engines.openai import OpenAIEngine
from evalkit.harness.judge import Judge
from evalkit.runs.records import Journal
folder = Path(sys.argv[2])
with Journal(folder / "verdicts.jsonl") as journal, Cache(folder / "cache.sqlite") as cache:
    engine = OpenAIEngine("judge", sys.argv[3], KEY, connections=8)
    Judge(engine, cache=cache).rule(requests_for(300), Rated(), journal)
"""


def test_killed_at_random_moments_no_stored_verdict_is_asked_for_again(tmp_path):
    root, kills, connections = Path(__file__).parents[3], 4, 8
    path = tmp_path / "verdicts.jsonl"
    settled: Counter[str] = Counter()
    with FaultyServer(latency_s=0.02) as server:
        command = [sys.executable, "-c", CHILD, str(root), str(tmp_path), server.url]
        for kill in range(kills):
            before = server.received
            with subprocess.Popen(command) as child:
                while child.poll() is None and server.received < before + 37 + 20 * kill:
                    time.sleep(0.001)
                child.kill()
            settled |= {json.loads(line)["id"]: 1 for line in path.read_bytes().split(b"\n")[:-1]}
        assert subprocess.run(command).returncode == 0
    texts = {request.id: request.prompt.text for request in requests_for(300)}
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(texts)
    assert 0 < len(settled) < 300
    assert sum(server.calls.values()) <= 300 + kills * connections
    assert sum(count > 1 for count in server.calls.values()) <= kills * connections
