"""Scoring what exists: the responses of a run directory, of shards, or of files made elsewhere."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evalkit.benchmark import Benchmark
from evalkit.engines.replay import StoredResponses
from evalkit.errors import DataError, RecordError, UsageError
from evalkit.formats.importers import import_responses
from evalkit.harness.asked import Asked
from evalkit.harness.stages import Plan, generate, plan
from evalkit.runs.lock import locked
from evalkit.runs.records import (
    MANIFEST,
    RESPONSES,
    SAMPLE_KEY,
    VERDICTS,
    Journal,
    check_rows,
    read_journal,
    read_manifest,
)
from evalkit.sampling import Sampling
from evalkit.schema import Json, Response
from evalkit.text.thoughts import STANDARD, Thoughts

Build = Callable[[str, Mapping[str, Json]], Benchmark]  # (name, the manifest's "origin") -> benchmark
SHARED_BY_SHARDS = (
    "benchmark",
    "label",
    "model",
    "sampling",
    "settings",
    "origin",
    "image_ablation",
    "prompt_baseline",
)


def plan_of_run(run_dir: Path, build: Build, thoughts: Thoughts | None = None) -> Plan:
    """The plan of a run whose responses are there: benchmark, selection and decoding from its manifest.

    Args:
        thoughts: which thoughts are taken off; None: as when the run was scored before.
    Raises:
        RecordError: if the directory holds no run.
    """
    manifest = read_manifest(run_dir)
    origin = _origin(manifest, run_dir)
    shard = origin.get("shard")
    return plan(
        build(manifest["benchmark"], origin),
        _sampling(manifest, run_dir),
        origin.get("limit"),
        (shard[0], shard[1]) if shard else None,
        origin,
        only=origin.get("only"),
        decoding_known="temperature" in manifest["sampling"],
        thoughts=thoughts or _thoughts(manifest, run_dir),
        asked=Asked(prompt=manifest.get("prompt_baseline")),  # nobody is shown an image any more
    )


def _origin(manifest: Mapping[str, Json], run_dir: Path) -> dict[str, Json]:
    """What the manifest says of how to make the benchmark and the selection again."""
    where = run_dir / MANIFEST
    if "benchmark" not in manifest:
        raise RecordError(f"{where}: no 'benchmark'")
    origin = manifest.get("origin") or {}
    if not isinstance(origin, dict):
        raise RecordError(f"{where}: 'origin' must be an object, found {origin!r:.60}")
    shard, limit, only = origin.get("shard"), origin.get("limit"), origin.get("only")
    if shard is not None and not (isinstance(shard, list) and [type(part) for part in shard] == [int, int]):
        raise RecordError(f"{where}: 'shard' must be two integers, found {shard!r:.60}")
    if limit is not None and type(limit) is not int:
        raise RecordError(f"{where}: 'limit' must be an integer, found {limit!r:.60}")
    if only is not None and not (isinstance(only, list) and all(isinstance(name, str) for name in only)):
        raise RecordError(f"{where}: 'only' must be a list of item ids, found {only!r:.60}")
    options = origin.get("options") or {}
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        raise RecordError(f"{where}: 'options' must be an object of texts, found {options!r:.60}")
    return origin


def _thoughts(manifest: Mapping[str, Json], run_dir: Path) -> Thoughts:
    name = manifest.get("thoughts")
    try:
        return STANDARD if name is None else Thoughts.parse(str(name))
    except UsageError as error:
        raise RecordError(f"{run_dir / MANIFEST}: 'thoughts' cannot be read: {error}") from error


def _sampling(manifest: Mapping[str, Json], run_dir: Path) -> Sampling:
    try:
        return Sampling(**manifest["sampling"])
    except (KeyError, TypeError, UsageError) as error:
        raise RecordError(f"{run_dir / MANIFEST}: 'sampling' cannot be read: {error}") from error


def import_run(
    benchmark: Benchmark,
    paths: Sequence[Path],
    run_dir: Path,
    label: str,
    *,
    format_name: str = "auto",
    partial: bool = False,
    origin: Mapping[str, Json] | None = None,
    notes: list[str] | None = None,
    thoughts: Thoughts = STANDARD,
) -> Plan:
    """Make a run directory from responses made elsewhere; how they were decoded is not known and not claimed.

    Args:
        paths: one file, or one per part of the items.
        partial: allow items without a response.
        notes: see `import_responses`.
        thoughts: which thoughts are taken off.
    Raises:
        DataError: if a file cannot be read, or its responses don't fit the items one to one.
    """
    items = benchmark.items()
    some = partial or benchmark.open_items
    responses = import_responses(
        list(paths),
        items,
        format_name,
        partial=some,
        formats=benchmark.formats,
        notes=notes,
        editions=benchmark.editions,
        parts=benchmark.parts,
    )
    answered = list(dict.fromkeys(response.prompt_id for response in responses))
    only = answered if len(answered) < len(items) else None
    samples = 1 + max(response.sample for response in responses)
    work = plan(benchmark, Sampling(n=samples), origin=origin, only=only, decoding_known=False, thoughts=thoughts)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in paths if path.is_file())).hexdigest()[:8]
    generate(work, StoredResponses(responses, {"engine": "import", "model": label, "file": digest}), run_dir, label)
    return work


def merge_shards(shards: Sequence[Path], run_dir: Path, build: Build) -> Plan:
    """Join the runs of a job array into one run directory; judge calls that were made are kept.

    Raises:
        RecordError: if the shards are not parts of one run, overlap, or leave items without a response.
    """
    manifests = [read_manifest(shard) for shard in shards]
    for shard, manifest in zip(shards, manifests, strict=True):
        for name in SHARED_BY_SHARDS:
            if _whole(manifest.get(name)) != _whole(manifests[0].get(name)):
                raise RecordError(f"{shard} and {shards[0]} are not parts of one run: their {name} differs")
    origin = _origin(manifests[0], shards[0]) | {"shard": None}
    sampling = _sampling(manifests[0], shards[0])
    asked = Asked(manifests[0].get("image_ablation"), manifests[0].get("prompt_baseline"))
    work = plan(build(manifests[0]["benchmark"], origin), sampling, origin.get("limit"), None, origin, asked=asked)
    rows: dict[tuple[str, int], Path] = {}
    responses = []
    for shard in shards:
        stored = read_journal(shard / RESPONSES)
        check_rows(stored, shard / RESPONSES, SAMPLE_KEY)
        for key, row in {(row["id"], row["sample"]): row for row in stored}.items():
            if key in rows:
                raise RecordError(f"item {key[0]!r} is in {rows[key]} and in {shard}; shards must not overlap")
            rows[key] = shard
            responses.append(
                Response(
                    key[0], row.get("text"), key[1], row.get("finish"), None, row.get("tokens"), row.get("failure")
                )
            )
    _check_merged(run_dir, responses, rows)
    generate(work, StoredResponses(responses, manifests[0]["model"]), run_dir, manifests[0]["label"])
    with locked(run_dir):
        _merge_verdicts(shards, run_dir)
    return work


def _check_merged(run_dir: Path, responses: Sequence[Response], shards: Mapping[tuple[str, int], Path]) -> None:
    """Raise RecordError if an earlier merge holds another response than a shard: it was generated again since."""
    merged = {(row.get("id"), row.get("sample")): row.get("text") for row in read_journal(run_dir / RESPONSES)}
    for response in responses:
        key = (response.prompt_id, response.sample)
        if merged.get(key) is not None and merged[key] != response.text:
            raise RecordError(
                f"{shards[key]}: the response to item {key[0]!r} differs from the one in {run_dir}, which was merged "
                "before; remove that folder, or choose another --output-path"
            )


def _merge_verdicts(shards: Sequence[Path], run_dir: Path) -> None:
    """Verdicts of the shards that the merged run does not hold yet; a torn last line is left out."""
    rows = [row for shard in shards for row in read_journal(shard / VERDICTS)]
    if not rows:
        return
    with Journal(run_dir / VERDICTS) as journal:
        known = {json.dumps(row, sort_keys=True) for row in journal.rows}
        for row in rows:
            if json.dumps(row, sort_keys=True) not in known:
                journal.append(row)


def _whole(value: Json) -> Json:
    """A manifest's field without what tells one shard from another."""
    return {key: part for key, part in value.items() if key != "shard"} if isinstance(value, dict) else value


def default_label(paths: Sequence[Path]) -> str:
    """A model's name from the files its responses came in.

    Raises:
        DataError: if there is no file.
    """
    if not paths:
        raise DataError("no file of responses was named")
    return paths[0].name.split(".json")[0].split(".csv")[0]
