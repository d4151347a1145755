"""--dry-run: what a run, or scoring one, would ask, without asking."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.harness.judge import Judge
    from evalkit.harness.prices import Forecast
    from evalkit.harness.stages import Plan


def needs_judge(work: "Plan") -> bool:
    """Whether a response to this benchmark is put to a judge."""
    from evalkit.benchmark import Judged

    benchmark = work.benchmark
    return isinstance(benchmark, Judged) and benchmark.judge_prompt(work.items[0], "There is a dog.") is not None


def forecast_run(options: argparse.Namespace, plans: "list[Plan]") -> int:
    """`run --dry-run`: generations and judge calls of every task, responses taken at their longest."""
    from benchmarks.cli.judging import judge_from, price_from
    from evalkit.benchmark import Judged
    from evalkit.harness.verdicts import forecast_rounds
    from evalkit.schema import Response

    judge = judge_from(options)
    for work in plans:
        responses = len(work.items) * work.sampling.n
        print(f"{work.benchmark.name}: {responses:,} generations of at most {work.sampling.max_new_tokens} tokens")
        if judge is None and needs_judge(work):
            print("judge: none named with --judge, and the responses need one")
        if not isinstance(work.benchmark, Judged) or judge is None:
            continue
        long_response = "word " * work.sampling.max_new_tokens
        longest = {
            (item.id, index): Response(item.id, long_response, index)
            for item in work.items
            for index in range(work.sampling.n)
        }
        _show(judge, forecast_rounds(judge, work.benchmark, work.items, longest, (), price_from(options)))
    return 0


def forecast_scoring(options: argparse.Namespace, work: "Plan", run_dir: Path) -> int:
    """`score --dry-run`: judge calls that the responses of a run still need."""
    from benchmarks.cli.judging import judge_from, price_from
    from evalkit.benchmark import Judged
    from evalkit.harness.stages import stored_responses
    from evalkit.harness.verdicts import first_requests, forecast_rounds
    from evalkit.runs.records import VERDICTS, read_journal

    responses = stored_responses(work, run_dir)
    requests = first_requests(work.benchmark, work.items, responses)
    print(f"{work.benchmark.name}: {len(responses):,} responses, {len(requests):,} need a judge")
    judge = judge_from(options)
    if judge is None or not isinstance(work.benchmark, Judged):
        return 0
    try:
        rows = read_journal(run_dir / VERDICTS)
        _show(judge, forecast_rounds(judge, work.benchmark, work.items, responses, rows, price_from(options)))
    finally:
        judge.engine.close()
    return 0


def _show(judge: "Judge", forecasts: "list[tuple[str, Forecast]]") -> None:
    print(f"judge {judge.engine.describe().get('model', judge.engine.name)}:")
    for name, forecast in forecasts:
        if name:
            print(f"then, about each response ({name}):")
        print(forecast)
