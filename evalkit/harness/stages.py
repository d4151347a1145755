"""One benchmark, one engine, one run directory: generate, then score.

    item -> prompt -> engine -> response -> (judge) -> score -> record -> metrics

The two stages are separate: a machine without network generates, another one judges. Both continue where an earlier
process stopped; finished responses and verdicts are never asked for again. The harness names no benchmark.
"""

import hashlib
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

import evalkit
from evalkit.benchmark import Benchmark, Judged, adopted
from evalkit.engines import Engine
from evalkit.engines.served.groups import CountsPromptTokens, PromptTokens
from evalkit.errors import DataError, RecordError, StoppedError, UsageError
from evalkit.formats.exporters import general_names
from evalkit.harness.asked import Asked, asked_otherwise
from evalkit.harness.judge import Judge
from evalkit.harness.matching import match_scoring, write_or_match
from evalkit.harness.results import Summary, write_results
from evalkit.harness.verdicts import ask_judge, score_sample
from evalkit.process.interrupt import finishing_in_flight
from evalkit.process.libraries import library_version
from evalkit.process.progress import Progress, note, silent
from evalkit.runs.belonging import check_responses
from evalkit.runs.lock import locked
from evalkit.runs.records import (
    MANIFEST,
    RESPONSES,
    SAMPLE_KEY,
    SCHEMA,
    Journal,
    check_rows,
    read_journal,
    read_manifest,
    write_json,
)
from evalkit.runs.run import Run, collector_resting
from evalkit.runs.signature import LANGUAGE_DATA, Signature
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Response, Sample, Score
from evalkit.text import language_data
from evalkit.text.thoughts import STANDARD, Spoken, Thoughts

GENERATION_FIELDS = (
    "benchmark", "model", "sampling", "prompts", "images", "ids", "image_ablation", "prompt_baseline",
)  # fmt: skip
AS_IT_IS = Asked()
VERSIONS = ("torch", "transformers", "vllm", "openai", "spacy", "numpy", "pillow")  # and what the scorer uses


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run asks: the selected items with their prompts, and how the engine decodes."""

    benchmark: Benchmark
    items: tuple[Item, ...]
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    origin: Mapping[str, Json] = field(default_factory=dict)  # how the command line built it, to build it again
    decoding_known: bool = True  # False for responses made elsewhere: nothing is claimed about their decoding
    thoughts: Thoughts = STANDARD  # what is taken off a response before it is judged and scored
    asked: Asked = AS_IT_IS  # blind baselines and changed prompts


def plan(
    benchmark: Benchmark,
    sampling: Sampling | None = None,
    limit: int | None = None,
    shard: tuple[int, int] | None = None,
    origin: Mapping[str, Json] | None = None,
    only: Collection[str] | None = None,
    decoding_known: bool = True,
    thoughts: Thoughts = STANDARD,
    asked: Asked = AS_IT_IS,
) -> Plan:
    """Select items and write their prompts.

    Args:
        sampling: instead of the benchmark's own decoding settings.
        limit: only the first `limit` items.
        shard: (i, n), 1 <= i <= n: every n-th item, starting with the i-th, for job arrays.
        origin: what a later `evalkit score` needs to build the benchmark again; kept in the manifest.
        only: ids of the items to keep, before the limit and the shard.
        decoding_known: False for responses made elsewhere.
        thoughts: which thoughts are taken off the responses.
        asked: blind baselines and changed prompts.
    Raises:
        DataError: if the benchmark has no items, or two share an id.
        UsageError: if the shard or the limit makes no sense.
    """
    benchmark = adopted(benchmark)
    items = list(benchmark.items())
    every: dict[str, Prompt] = {}
    if asked != AS_IT_IS:  # over all items: a shard swaps the same images as the whole
        changed = asked_otherwise([benchmark.prompt(item) for item in items], asked)
        every = {prompt.id: prompt for prompt in changed}
    if only is not None:
        kept = set(only)
        items = [item for item in items if item.id in kept]
    if limit is not None:
        if limit < 1:
            raise UsageError(f"--limit must be at least 1, got {limit}")
        items = items[:limit]
    if shard is not None:
        index, count = shard
        if not 1 <= index <= count:
            raise UsageError(f"--shard i/n needs 1 <= i <= n, got {index}/{count}")
        items = items[index - 1 :: count]
    if not items:
        raise DataError(f"{benchmark.name}: no items to score")
    repeated = _repeated(item.id for item in items)
    if repeated:
        raise DataError(f"{benchmark.name}: item ids must be unique; repeated: {', '.join(repeated[:5])}")
    prompts = [every[item.id] if every else benchmark.prompt(item) for item in items]
    selection: dict[str, Json] = {
        "limit": limit,
        "shard": list(shard) if shard else None,
        "only": list(only) if only is not None else None,
    }
    return Plan(
        benchmark,
        tuple(items),
        tuple(prompts),
        sampling or benchmark.sampling,
        {**(origin or {}), **selection},
        decoding_known,
        thoughts,
        asked,
    )


def generate(
    work: Plan,
    engine: Engine,
    run_dir: Path,
    label: str | None = None,
    progress: Progress = silent,
) -> None:
    """Ask the engine for every response that the run's journal does not hold yet.

    Failed responses of an earlier process are asked for again; finished ones never.

    Raises:
        RecordError: if the directory is in use, unwritable, or holds a run with other settings.
        EngineError: if the engine breaks; what was finished before stays.
        StoppedError: after SIGINT or SIGTERM, once what was in flight is in the journal.
    """
    with locked(run_dir):
        model = engine.describe()
        manifest = _manifest(work, model, label or str(model.get("model", engine.name)))
        write_or_match(run_dir, manifest, GENERATION_FIELDS)
        with Journal(run_dir / RESPONSES) as journal:
            done = {key for key, row in _latest(journal.rows, journal.path).items() if row.get("failure") is None}
            wanted = [(prompt.id, sample) for prompt in work.prompts for sample in range(work.sampling.n)]
            missing = set(wanted) - done
            pending = [prompt for prompt in work.prompts if any((prompt.id, s) in missing for s in _samples(work))]
            finished = len(wanted) - len(missing)
            progress("responses", finished, len(wanted))
            before = _prompt_tokens(engine)
            counter = engine if isinstance(engine, CountsPromptTokens) else None  # asked once: it takes its time
            with finishing_in_flight(engine.stop) as interrupted:
                for response in engine.generate(pending, work.sampling) if pending else ():
                    key = (response.prompt_id, response.sample)
                    if key not in missing:
                        continue  # another sample of its prompt was missing; this one was finished before
                    missing.discard(key)
                    journal.append(_response_row(response))
                    finished += 1
                    if counter is not None:
                        _note_prefix_hits(progress, before, counter.prompt_tokens)
                    progress("responses", finished, len(wanted))
                if missing and interrupted():
                    raise StoppedError(
                        f"{run_dir}: stopped with {finished} of {len(wanted)} responses; "
                        "rerun the same command to resume"
                    )
            if missing:
                named = ", ".join(f"{name}#{sample}" for name, sample in sorted(missing)[:5])
                raise RecordError(
                    f"{run_dir}: the engine ended without {len(missing)} of {len(wanted)} responses ({named}); "
                    "rerun the same command to resume"
                )
        _record_prompt_tokens(run_dir, before, _prompt_tokens(engine))


def _prompt_tokens(engine: Engine) -> PromptTokens:
    """What the engine has counted so far."""
    return replace(engine.prompt_tokens) if isinstance(engine, CountsPromptTokens) else PromptTokens()


def _note_prefix_hits(progress: Progress, before: PromptTokens, now: PromptTokens) -> None:
    """Say which share of the prompts' tokens was not read again, once there is one."""
    given, spared = now.given - before.given, now.spared - before.spared
    if spared > 0:
        note(progress, "responses", f"{spared / given:.0%} of prompts cached")


def _record_prompt_tokens(run_dir: Path, before: PromptTokens, after: PromptTokens) -> None:
    """Add to the manifest how many tokens of prompts the engine was given, and had read before."""
    if after.given == before.given:
        return
    manifest = read_manifest(run_dir)
    total = PromptTokens(**manifest.get("prompt_tokens", {}))
    total.add(after.given - before.given, after.spared - before.spared)
    write_json(run_dir / MANIFEST, manifest | {"prompt_tokens": asdict(total)})


def score(
    work: Plan,
    run_dir: Path,
    judge: Judge | None = None,
    progress: Progress = silent,
    rescore: bool = False,
) -> Summary:
    """Judge what needs judging, score every response, write records and metrics.

    Args:
        judge: needed by a `Judged` benchmark as soon as one of its responses needs a call.
        rescore: allow other scoring settings than the ones this directory was scored with.
    Raises:
        RecordError: if responses are missing, or the directory was scored with other settings.
        UsageError: if a judge is needed and there is none.
    """
    with locked(run_dir):
        manifest = read_manifest(run_dir)
        benchmark = work.benchmark
        if manifest["benchmark"] != benchmark.name:
            raise RecordError(f"{run_dir} is a run of {manifest['benchmark']}, not of {benchmark.name}")
        scoring: dict[str, Json] = {
            "settings": dict(benchmark.settings()),
            "judge": judge.describe() if judge is not None and isinstance(benchmark, Judged) else None,
            "thoughts": work.thoughts.name,
        }
        if "signature" in manifest and not rescore:
            match_scoring(run_dir, manifest, scoring)
        responses = stored_responses(work, run_dir)
        check_responses(
            run_dir, manifest, {key: said.text if said.raw is None else said.raw for key, said in responses.items()}
        )
        verdicts = ask_judge(benchmark, work.items, responses, judge, run_dir, progress)
        with collector_resting():
            samples = benchmark.settle(
                [
                    _sample(benchmark, item, prompt, responses[item.id, index], verdicts.get((item.id, index)))
                    for item, prompt in zip(work.items, work.prompts, strict=True)
                    for index in _samples(work)
                ]
            )
        manifest |= scoring | {
            "metrics": [metric.as_dict() for metric in benchmark.metrics],
            "versions": _versions(benchmark),
            "evalkit": evalkit.__version__,
            "rating": asdict(benchmark.rating),
            "exports": general_names(benchmark.exports),
            "remarks": list(benchmark.remarks()),
        }
        manifest["signature"] = str(Signature.of(manifest))
        with collector_resting():
            return write_results(run_dir, benchmark, samples, manifest, progress)


def stored_samples(work: Plan, run: Run) -> list[Sample]:
    """The samples of a scored run, as they were scored.

    Raises:
        RecordError: if the records are not those of the plan's items.
    """
    items = {item.id: (item, prompt) for item, prompt in zip(work.items, work.prompts, strict=True)}
    unknown = [row["id"] for row in run.rows if row["id"] not in items]
    if unknown:
        raise RecordError(f"{run.label}: {len(unknown)} records belong to no item, e.g. {unknown[0]!r}")
    samples = []
    for row in run.rows:
        response, score = row["response"], row["score"]
        samples.append(
            Sample(
                *items[row["id"]],
                Response(row["id"], response["text"], row["sample"], failure=response["failure"]),
                Score(score["counts"], failure=score["failure"], details=score.get("details", {})),
            )
        )
    return samples


def evaluate(
    benchmark: Benchmark,
    engine: Engine,
    run_dir: Path,
    judge: Judge | None = None,
    *,
    sampling: Sampling | None = None,
    limit: int | None = None,
    label: str | None = None,
    progress: Progress = silent,
) -> Summary:
    """`generate` and `score` in one go: the whole life of a run. The same call continues an interrupted one."""
    work = plan(benchmark, sampling, limit)
    generate(work, engine, run_dir, label, progress)
    return score(work, run_dir, judge, progress)


def _samples(work: Plan) -> range:
    return range(work.sampling.n)


def _repeated(ids: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in ids if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def _hash(parts: Iterable[str]) -> str:
    """First 8 hexadecimal digits of the sha256 over the parts, order kept."""
    joined = "".join([f"{part}\x00" for part in parts])
    return hashlib.sha256(joined.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]


def _manifest(work: Plan, model: Mapping[str, Json], label: str) -> dict[str, Json]:
    images = {image.name: image for prompt in work.prompts for image in prompt.images}
    return {
        "schema": SCHEMA,
        "evalkit": evalkit.__version__,
        "benchmark": work.benchmark.name,
        "label": label,
        "model": dict(model),
        "sampling": work.sampling.as_dict() if work.decoding_known else {"n": work.sampling.n},
        "settings": dict(work.benchmark.settings()),
        "judge": None,
        "thoughts": work.thoughts.name,
        **work.asked.manifest(),
        "prompts": _hash(part for prompt in work.prompts for part in _hashed(prompt)),
        "images": _hash(f"{name} {images[name].sha256()}" for name in sorted(images)) if images else None,
        "ids": _hash(sorted(item.id for item in work.items)),
        "items": len(work.items),
        "origin": dict(work.origin),
        "versions": _versions(work.benchmark),
    }


def _hashed(prompt: Prompt) -> tuple[str, ...]:
    """The parts of a prompt that its hash covers."""
    turns = (part for turn in prompt.turns for part in turn)
    return (prompt.id, prompt.system or "", prompt.text, *turns)


def _versions(benchmark: Benchmark) -> dict[str, str]:
    """Versions of what may run a model, and of the libraries that this benchmark scores with."""
    versions = {"python": platform.python_version()}
    for name in dict.fromkeys((*VERSIONS, *benchmark.libraries())):
        installed = language_data() if name == LANGUAGE_DATA else library_version(name)
        if installed is not None:
            versions[name] = installed
    return versions


def _response_row(response: Response) -> dict[str, Json]:
    row = {"id": response.prompt_id, "sample": response.sample}
    if response.failure is not None:
        return row | {"failure": response.failure}
    return row | {"text": response.text, "finish": response.finish, "tokens": response.tokens}


def _latest(rows: Sequence[Mapping[str, Any]], path: Path) -> dict[tuple[str, int], Mapping[str, Any]]:
    """The last line of every (id, sample): a response that failed first and was generated later counts as generated."""
    check_rows(rows, path, SAMPLE_KEY)
    for number, row in enumerate(rows, 1):
        outcomes = [row[name] for name in ("text", "failure") if row.get(name) is not None]
        if len(outcomes) != 1 or not isinstance(outcomes[0], str):
            raise RecordError(f"{path}:{number}: expected a 'text' or a 'failure'; remove the line and generate again")
    return {(row["id"], row["sample"]): row for row in rows}


def stored_responses(work: Plan, run_dir: Path) -> dict[tuple[str, int], Response]:
    """The responses of a run: (item id, sample) -> response.

    Raises:
        RecordError: if responses are missing.
    """
    path = run_dir / RESPONSES
    rows = _latest(read_journal(path), path)
    wanted = [(item.id, index) for item in work.items for index in _samples(work)]
    missing = [key for key in wanted if key not in rows]
    if missing:
        raise RecordError(
            f"{path}: {len(missing)} of {len(wanted)} responses are missing, e.g. of item {missing[0][0]!r}; "
            "rerun the same command to resume"
        )
    spoken = work.thoughts.read_all([(rows[key].get("text"), rows[key].get("finish")) for key in wanted])
    return {key: _response(key, rows[key], said) for key, said in zip(wanted, spoken, strict=True)}


def _response(key: tuple[str, int], row: Mapping[str, Any], said: Spoken | None) -> Response:
    """A line of the journal as a response without its thoughts."""
    text: str | None = row.get("text")
    return Response(
        prompt_id=key[0],
        sample=key[1],
        text=None if said is None else said.answer,
        finish=row.get("finish"),
        tokens=row.get("tokens"),
        failure=row.get("failure") if said is None else said.failure,
        raw=text if said is not None and said.answer != text else None,
    )


def _sample(
    benchmark: Benchmark, item: Item, prompt: Prompt, response: Response, verdict: Mapping[str, Json] | None
) -> Sample:
    score = score_sample(benchmark, item, response, verdict)
    if score.counts and not isfinite(sum(score.counts.values())):  # JSON has no such numbers, and sums lose all others
        raise DataError(f"{benchmark.name}: item {item.id!r}: counts must be finite, got {dict(score.counts)}")
    return Sample(item, prompt, response, score, verdict)
