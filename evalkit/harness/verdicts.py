"""What a judge is asked about the responses of a run, in one round or several, and what came back.

The first round is the benchmark's `judge_prompt`. Further rounds (`Judged.further_rounds`) are put once the earlier
ones are answered; their rows lie in the same journal, told apart by the hash of what was asked, and stand in the
sample's verdict under "rounds".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.benchmark import Benchmark, Judged, JudgeRound
from evalkit.errors import UsageError
from evalkit.harness.judge import Judge, JudgeRequest
from evalkit.harness.prices import Forecast, Price
from evalkit.process.progress import Progress
from evalkit.runs.records import SAMPLE_KEY, VERDICTS, Journal, check_rows
from evalkit.schema import Item, Json, Response, Score

Key = tuple[str, int]  # item id, sample
VerdictRow = Mapping[str, Json]
FIRST = ""  # name of the first round among the replies


def first_requests(
    benchmark: Benchmark, items: Sequence[Item], responses: Mapping[Key, Response]
) -> list[JudgeRequest]:
    """What the first round asks about these responses; empty for a benchmark without a judge."""
    if not isinstance(benchmark, Judged):
        return []
    by_id = {item.id: item for item in items}
    return [
        JudgeRequest(name, sample, replace(prompt, id=f"{name}#{sample}"))
        for (name, sample), response in responses.items()
        if response.text is not None and (prompt := benchmark.judge_prompt(by_id[name], response.text)) is not None
    ]


def ask_judge(
    benchmark: Benchmark,
    items: Sequence[Item],
    responses: Mapping[Key, Response],
    judge: Judge | None,
    run_dir: Path,
    progress: Progress,
) -> dict[Key, VerdictRow]:
    """The judge's row for every response that needs one: from the journal where it is there, else by asking.

    Raises:
        UsageError: if a judge is needed and there is none.
    """
    requests = first_requests(benchmark, items, responses)
    if not requests or not isinstance(benchmark, Judged):
        return {}
    if judge is None:
        raise UsageError(
            f"{benchmark.name}: {len(requests)} responses need a judge; name one with --judge, "
            "or choose a variant that needs none"
        )
    with Journal(run_dir / VERDICTS) as journal:
        check_rows(journal.rows, journal.path, SAMPLE_KEY | {"key": str, "attempts": list})
        check_rows(
            [{"attempt": one} for row in journal.rows for one in row["attempts"]], journal.path, {"attempt": dict}
        )
        verdicts: dict[Key, VerdictRow] = dict(judge.rule(requests, benchmark, journal, progress))
        for number, further in enumerate(benchmark.further_rounds(), 2):
            asked = further_requests(further, items, responses, verdicts)

            def shown(what: str, done: int, total: int, number: int = number) -> None:
                progress(f"{what}, round {number}", done, total)

            for key, row in judge.rule(asked, further, journal, shown).items():
                rounds = {**verdicts[key].get("rounds", {}), further.name: row}
                verdicts[key] = {**verdicts[key], "rounds": rounds}
    return verdicts


def further_requests(
    further: JudgeRound, items: Sequence[Item], responses: Mapping[Key, Response], verdicts: Mapping[Key, VerdictRow]
) -> list[JudgeRequest]:
    """What a further round asks; nothing about a response whose first question was not answered."""
    by_id = {item.id: item for item in items}
    texts: dict[int, dict[str, str]] = {}
    for (name, sample), response in responses.items():
        if response.text is not None:
            texts.setdefault(sample, {})[name] = response.text
    requests = []
    for (name, sample), row in verdicts.items():
        replies = replies_of(row)
        if FIRST not in replies:
            continue
        prompt = further.prompt(by_id[name], texts[sample][name], replies, texts[sample])
        if prompt is not None:
            requests.append(JudgeRequest(name, sample, replace(prompt, id=f"{name}#{sample}")))
    return requests


def forecast_rounds(
    judge: Judge,
    benchmark: Judged,
    items: Sequence[Item],
    responses: Mapping[Key, Response],
    rows: Sequence[VerdictRow] = (),
    price: Price | None = None,
) -> list[tuple[str, Forecast]]:
    """What judging these responses would take, round by round, without asking anything.

    What the judge has not said yet is taken at its longest. Rounds that ask nothing are left out.
    """
    requests = first_requests(benchmark, items, responses)
    forecasts = [(FIRST, judge.forecast(requests, benchmark.judge_sampling(), rows, price))]
    long_reply = "word " * benchmark.judge_sampling().max_new_tokens + benchmark.example_reply
    verdicts: dict[Key, VerdictRow] = {(request.id, request.sample): {"reply": long_reply} for request in requests}
    for further in benchmark.further_rounds():
        asked = further_requests(further, items, responses, verdicts)
        if asked:
            forecasts.append((further.name, judge.forecast(asked, further.judge_sampling(), rows, price)))
    return forecasts


def replies_of(verdict: VerdictRow) -> dict[str, str]:
    """Round -> reply, as far as the judge answered."""
    rows = {FIRST: verdict, **(verdict.get("rounds") or {})}
    return {name: row["reply"] for name, row in rows.items() if isinstance(row.get("reply"), str)}


def score_sample(benchmark: Benchmark, item: Item, response: Response, verdict: VerdictRow | None) -> Score:
    """The score of one response; what failed earlier says where."""
    if response.text is None:
        return Score(counts=None, failure=f"generation: {response.failure}")
    if verdict is None:
        return benchmark.score(item, response.text)
    if verdict.get("failure") is not None:
        return Score(counts=None, failure=f"judge: {verdict['failure']}")
    if "rounds" in verdict and isinstance(benchmark, Judged):
        return benchmark.score_rounds(item, response.text, replies_of(verdict))
    return benchmark.score(item, response.text, verdict["reply"])
