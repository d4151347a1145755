"""From scored samples to records.jsonl and metrics.json."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.analysis.front import RunFront, measure
from evalkit.analysis.front_file import write_fronts
from evalkit.benchmark import Benchmark
from evalkit.metrics import sum_counts
from evalkit.runs.checks import check_samples
from evalkit.runs.checksums import MADE_FROM, digest, manifest_digest, sealed, with_own_sum
from evalkit.runs.records import MANIFEST, METRICS, RECORDS, write_json, write_lines
from evalkit.runs.run import MAX_GROUPS, failed_stage
from evalkit.schema import Finding, Item, Json, Sample
from evalkit.statistics.intervals import Interval, cluster_counts, drawn, limits


@dataclass(frozen=True, slots=True)
class Summary:
    """What a command prints of a run: its numbers, how many samples stand behind them, how many failed, where, why."""

    run_dir: Path
    signature: str
    n_scored: int
    n_total: int
    failures: Mapping[str, int]
    metrics: Mapping[str, Interval]
    first_failure: str | None = None
    remarks: Sequence[str] = ()


def write_results(
    run_dir: Path,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    manifest: Mapping[str, Json],
    progress: Callable[[str, int, int], None],
) -> Summary:
    """Write run.json, records.jsonl, metrics.json of scored samples; front.json where a benchmark declares fronts."""
    rows = [sample_row(sample, benchmark.present) for sample in samples]
    lines = [sealed(row) for row in rows]
    records = digest(b"".join(lines))
    manifest = {**manifest, MADE_FROM: {RECORDS: records}}
    (run_dir / METRICS).unlink(missing_ok=True)  # never beside records or a manifest that it was not computed from
    write_json(run_dir / MANIFEST, manifest)
    write_lines(run_dir / RECORDS, lines)
    progress("records", len(rows), len(rows))
    scored = [sample for sample in samples if sample.score.counts is not None]
    fronts = measure(benchmark, samples)
    metrics = _intervals(benchmark, scored, fronts)
    items = list({sample.item.id: sample.item for sample in samples}.values())
    baselines = benchmark.baselines(items)
    official = benchmark.official(samples)
    failures = Counter(filter(None, map(failed_stage, rows)))
    sums = sum_counts(sample.score.counts or {} for sample in scored)
    results: dict[str, Json] = {
        "benchmark": benchmark.name,
        "signature": manifest["signature"],
        "n_scored": len(scored),
        "n_total": len(samples),
        "failures": dict(failures),
        "sums": sums,
        "metrics": {name: value.as_dict() for name, value in metrics.items()},
        "groups": _groups(benchmark, scored),
        "official": dict(official) if official is not None else None,
        "baselines": {name: dict(row) for name, row in baselines.items()} if baselines is not None else None,
        "checks": check_samples(rows, benchmark.metrics, baselines, sums, len(scored)),
        MADE_FROM: {MANIFEST: manifest_digest(manifest), RECORDS: records},
    }
    write_json(run_dir / METRICS, with_own_sum(results))
    write_fronts(run_dir, str(manifest["signature"]), fronts)
    first = next((f"item {s.item.id!r}: {s.score.failure}" for s in samples if s.score.failure is not None), None)
    remarks = manifest.get("remarks") or ()
    return Summary(
        run_dir, str(manifest["signature"]), len(scored), len(samples), dict(failures), metrics, first, remarks
    )


def _intervals(benchmark: Benchmark, scored: Sequence[Sample], fronts: Sequence[RunFront] = ()) -> dict[str, Interval]:
    """The metrics of samples, and in the same draws the points of fronts."""
    rows = [sample.score.counts or {} for sample in scored]
    clusters = [sample.item.cluster or sample.item.id for sample in scored]
    names, matrix = cluster_counts(benchmark.metrics, rows, clusters)
    draws, *cut = drawn([matrix, *(sums for front in fronts for sums in front.sums)])
    for front in fronts:
        front.place([cut.pop(0) for _ in front.sums])
    return {metric.name: limits(metric, names, matrix, draws) for metric in benchmark.metrics}


def _groups(benchmark: Benchmark, scored: Sequence[Sample]) -> dict[str, dict[str, Json]]:
    """Group name -> value -> {"n", "metrics"}; metrics that the group leaves undefined are left out."""
    members: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in scored:
        for name, value in sample.item.groups.items():
            members[name][value].append(sample)
    tables: dict[str, dict[str, Json]] = {}
    for name, values in members.items():
        if len(values) <= MAX_GROUPS:
            tables[name] = {
                value: {
                    "n": len(group),
                    "metrics": {
                        metric: number.as_dict()
                        for metric, number in _intervals(benchmark, group).items()
                        if number.value is not None
                    },
                }
                for value, group in values.items()
            }
    return tables


def sample_row(sample: Sample, present: Sequence[str] = ()) -> dict[str, Json]:
    """A sample as a line of records.jsonl.

    Args:
        present: keys of the item's reference that list what is truly in the image.
    """
    item, response, score = sample.item, sample.response, sample.score
    return {
        "id": item.id,
        "sample": response.sample,
        "question": item.question,
        "prompt": sample.prompt.text,
        "image": {"folder": _absolute(item.image.folder), "name": item.image.name} if item.image else None,
        "groups": dict(item.groups),
        "cluster": item.cluster or item.id,
        "reference": dict(item.reference),
        "present": _present(item, present),
        "response": {
            "text": response.text,
            "failure": response.failure,
            "finish": response.finish,
            "tokens": response.tokens,
            **({"raw": response.raw} if response.raw is not None else {}),
        },
        "verdict": dict(sample.verdict) if sample.verdict is not None else None,
        "score": {
            "counts": dict(score.counts) if score.counts is not None else None,
            "failure": score.failure,
            "findings": [dict(zip(Finding._fields, finding, strict=True)) for finding in score.findings],
            "details": dict(score.details),
        },
    }


def _absolute(folder: Path) -> str:
    return str(folder if folder.is_absolute() else folder.absolute())  # the latter makes another path each time


def _present(item: Item, keys: Sequence[str]) -> list[str]:
    """What is truly in the image, by the first of these keys that lists it."""
    listed: list[Json] = next((item.reference[key] for key in keys if isinstance(item.reference.get(key), list)), [])
    return [name for name in listed if isinstance(name, str)]
