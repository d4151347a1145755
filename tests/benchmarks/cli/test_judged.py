"""Every judged benchmark: a judge that fails in 30 % of the calls, a kill, a budget, a dry run, one table of all."""

import json
from pathlib import Path

import pytest
from faulty_server import FAULTS, FaultyServer

from benchmarks.cli.registry import build
from benchmarks.judges.rules import RulesJudge
from benchmarks.llava_bench.rules import SYSTEM
from evalkit.__main__ import main
from evalkit.cli.run_checks import run_checks
from evalkit.engines.openai import OpenAIEngine
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import BudgetReachedError, EngineError, RecordError
from evalkit.harness.judge import Judge
from evalkit.harness.prices import Budget
from evalkit.harness.stages import Plan, generate, plan, score
from evalkit.miniature.files import write_world
from evalkit.runs.checksums import sealed
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

JUDGED = ("mmhal", "object_halbench", "llava_bench", "llava_bench_wild", "refomb", "hallusionbench")
FAST = tuple(kind for kind in FAULTS if kind != "timeout")  # time-outs take time, and are tried with the judge itself


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), 4, 0)


def ruled(text: str) -> str:
    """What the rules judge says to a prompt, whichever part of the messages it came in."""
    user = text.removeprefix(f"{SYSTEM}\n")
    for prompt in (Prompt("p", user), *(Prompt("p", "", system=whole) for whole in (text, text.removesuffix("\n")))):
        try:
            return next(iter(RulesJudge().generate([prompt], Sampling()))).text or ""
        except EngineError:
            continue
    raise AssertionError(f"not a prompt of ours: {text[:200]}")


def answered(name: str, world: Path, run_dir: Path) -> Plan:
    """A run whose responses are there."""
    work = plan(build(name, {}, world))
    said = "Yes, the image shows a beach with a dog and a red kite."
    generate(work, ScriptedEngine(lambda p, s: said), run_dir)
    return work


def verdicts(run_dir: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run_dir / "verdicts.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", JUDGED)
def test_a_judge_that_fails_in_a_third_of_its_calls_loses_and_repeats_nothing(name, world, tmp_path) -> None:
    work = answered(name, world, tmp_path)
    with FaultyServer(faults=0.3, seed=5, kinds=FAST, answer=ruled) as server:
        engine = OpenAIEngine("judge", server.url, "key", attempts=8)
        summary = score(work, tmp_path, Judge(engine))
        engine.close()
        assert summary.n_scored == summary.n_total
        assert max(server.answered.values()) <= 2  # a reply that was cut or torn on its way is asked for again
        before = server.received
        engine = OpenAIEngine("judge", server.url, "key")
        assert score(work, tmp_path, Judge(engine)).metrics == summary.metrics
        engine.close()
        assert server.received == before
    quiet = score(answered(name, world, tmp_path / "quiet"), tmp_path / "quiet", Judge(RulesJudge()))
    assert {k: v.value for k, v in quiet.metrics.items()} == {k: v.value for k, v in summary.metrics.items()}


class Dying(RulesJudge):
    """Dies after so many replies, as often as it is started."""

    def __init__(self, lives: int) -> None:
        self.lives, self.said = lives, 0

    def generate(self, prompts, sampling):
        for prompt in prompts:
            if self.said == self.lives:
                raise EngineError("killed")
            self.said += 1
            yield from super().generate([prompt], sampling)


@pytest.mark.parametrize("name", JUDGED)
def test_a_killed_judge_goes_on_where_it_stopped(name, world, tmp_path) -> None:
    work = answered(name, world, tmp_path)
    paid = 0
    for _ in range(50):
        judge = Dying(7)
        try:
            score(work, tmp_path, Judge(judge))
            paid += judge.said
            break
        except EngineError:
            paid += judge.said
    else:
        raise AssertionError("never finished")
    asked = {row["key"] for row in verdicts(tmp_path)}
    assert paid == len(asked)


@pytest.mark.parametrize("name", JUDGED)
def test_a_budget_stops_cleanly_and_a_larger_one_goes_on(name, world, tmp_path) -> None:
    work = answered(name, world, tmp_path)
    judge = ScriptedEngine(lambda p, s: ruled(p.text or p.system or ""))
    with pytest.raises(BudgetReachedError):
        score(work, tmp_path, Judge(judge, budget=Budget.parse("calls:3", None)))
    assert len(judge.asked) == 3
    score(work, tmp_path, Judge(judge))
    assert len(judge.asked) == len({row["key"] for row in verdicts(tmp_path)})


@pytest.mark.parametrize("name", JUDGED)
def test_a_judge_that_never_answers_leaves_no_score(name, world, tmp_path) -> None:
    work = answered(name, world, tmp_path)
    summary = score(work, tmp_path, Judge(ScriptedEngine(lambda p, s: None), retries=0))
    asked = {row["id"] for row in verdicts(tmp_path)}
    assert summary.n_scored == summary.n_total - len(asked)
    assert summary.failures["judge"] == len(asked)
    if not summary.n_scored:
        assert {value.value for value in summary.metrics.values()} == {None}


def test_a_dry_run_counts_every_round(world, tmp_path, capsys) -> None:
    words = (
        f"--tasks llava_bench,refomb,hallusionbench --model m --judge rules --world {world} --output-path {tmp_path}"
    )
    assert main(f"run --dry-run {words} --set llava_bench.control=swap --set refomb.judge_runs=2".split()) == 0
    out = capsys.readouterr().out
    assert "then, about each response (swap):" in out
    assert "then, about each response (hallucination):" in out
    assert "then, about each response (run 2):" in out
    assert "then, about each response (same):" in out
    assert not list(tmp_path.iterdir())


def test_further_fields_of_requests_are_sent_recorded_and_refused_when_they_change(world, tmp_path, capsys) -> None:
    with FaultyServer(answer=lambda text: "A dog on a beach. Rating: 4") as server:
        words = [
            *("run", "--tasks", "mmhal", "--engine", "openai", "--model", "m", "--limit", "3", "--judge", "j"),
            *(
                "--world",
                str(world),
                "--output-path",
                str(tmp_path),
                "--base-url",
                server.url,
                "--judge-base-url",
                server.url,
            ),
            *("--judge-extra", '{"reasoning_effort": "low"}'),
        ]
        assert main([*words, "--extra", '{"chat_template_kwargs": {"enable_thinking": false}}']) == 0
        sent = [body.get("chat_template_kwargs") for body in server.bodies if body["model"] == "m"]
        assert sent == [{"enable_thinking": False}] * 3
        assert {body.get("reasoning_effort") for body in server.bodies if body["model"] == "j"} == {"low"}
        manifest = json.loads((tmp_path / "m" / "mmhal" / "run.json").read_text())
        assert manifest["model"]["extra"] == {"chat_template_kwargs": {"enable_thinking": False}}
        assert manifest["judge"]["extra"] == {"reasoning_effort": "low"}
        received = server.received
        capsys.readouterr()
        assert main([*words, "--extra", "{}"]) != 0
        assert "extra" in capsys.readouterr().err
        assert server.received == received
    assert main(["report", str(tmp_path)]) == 0
    assert "judge.extra.reasoning_effort:low" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--extra", "{'a': 1}"], "JSON"),
        (["--extra", "[1]"], "JSON"),
        (["--extra", '{"a": NaN}'], "JSON"),
        (["--extra", '{"seed": 1}'], "--seed"),
        (["--extra", "{}", "--engine-args", 'extra={"a": 1}'], "one of them"),
        (["--engine", "transformers", "--extra", "{}"], "transformers"),
        (["--judge", "rules", "--judge-extra", "{}"], "--judge-extra"),
        (["--judge", "j", "--judge-extra", '{"max_tokens": 9}'], "--judge-max-tokens"),
    ],
)
def test_fields_that_cannot_be_sent_are_refused_before_anything_is_asked(
    words, named, world, tmp_path, capsys, monkeypatch
) -> None:
    fixed = "run --tasks mmhal --engine openai --model m --base-url http://127.0.0.1:9/v1 --limit 3 --judge j --world"
    monkeypatch.setenv("JUDGE_BASE_URL", "http://127.0.0.1:9/v1")
    assert main([*fixed.split(), str(world), "--output-path", str(tmp_path), *words]) == 1
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mmhal", "refomb"])
def test_doctor_finds_verdicts_that_are_gone_or_say_something_else(name, world, tmp_path) -> None:
    work = answered(name, world, tmp_path)
    score(work, tmp_path, Judge(RulesJudge()))
    path = tmp_path / "verdicts.jsonl"
    whole, rows = path.read_bytes(), verdicts(tmp_path)

    def state() -> tuple[str, str]:
        return next((check.state, check.text) for check in run_checks(tmp_path) if check.name == "replies")

    assert state()[0] == "ok"
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert "1 verdicts of the records are gone" in state()[1]
    path.write_bytes(b"".join(sealed(row | {"reply": "Rating: 6"}) for row in rows))
    assert "replies are others" in state()[1]
    path.unlink()
    assert state()[0] == "missing"


def test_a_verdict_whose_attempts_are_damaged_is_named(world, tmp_path) -> None:
    work = answered("mmhal", world, tmp_path)
    score(work, tmp_path, Judge(RulesJudge()))
    rows = verdicts(tmp_path)
    for damaged, kind in ((5, "list"), ([5], "dict")):
        (tmp_path / "verdicts.jsonl").write_bytes(b"".join(sealed(row | {"attempts": damaged}) for row in rows))
        with pytest.raises(RecordError, match=f"must be a {kind}"):
            score(work, tmp_path, Judge(RulesJudge()))
