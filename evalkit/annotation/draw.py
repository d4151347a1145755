"""Drawing a study from scored runs: which items, which responses, in which order, all by the seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import ceil
from pathlib import Path

from evalkit.annotation.answers import Task
from evalkit.annotation.study import (
    SHOWN,
    Study,
    StudyItem,
    StudyResponse,
    StudyRun,
    check_names,
    file_hash,
    place_in_draw,
    text_hash,
)
from evalkit.errors import DataError
from evalkit.runs.records import RECORDS
from evalkit.runs.run import Run, boxes_present, cluster_of, objects_present
from evalkit.schema import Json, Record


def draw_study(
    folder: Path,
    runs: Sequence[Run],
    task: Task,
    types: Sequence[str],
    *,
    annotators: Sequence[str],
    items: int | None = None,
    show: Sequence[str] = (),
    stratify: str | None = None,
    overlap: float = 0.0,
    gold: Mapping[str, Mapping[str, Json]] | None = None,
    seed: int = 0,
) -> Study:
    """Draw a study; nothing is written yet (`write_study`).

    Args:
        folder: where it will lie.
        runs: scored run directories; for compare at least two of one benchmark.
        items: how many to draw, None for all that can be shown.
        stratify: name of a group; each value gets its share of the items.
        overlap: share of the items that every annotator gets, 0 to 1, for agreement.
        gold: key of an item -> known answer; these items are drawn in any case.
    Raises:
        DataError: if no item can be drawn, or an argument does not fit the runs.
    """
    if not 0 <= overlap <= 1:
        raise DataError(f"overlap is a share from 0 to 1, got {overlap}")
    unknown = [word for word in show if word not in SHOWN]
    if unknown:
        raise DataError(f"cannot show {', '.join(unknown)}; known: {', '.join(SHOWN)}")
    candidates = list(_comparable(runs, seed) if task == "compare" else _single(runs))
    if not candidates:
        reason = "no two runs have different responses to one item" if task == "compare" else "no run has a response"
        raise DataError(f"there is nothing to annotate: {reason}")
    if stratify is not None and not any(stratify in item.groups for item in candidates):
        names = sorted({name for item in candidates for name in item.groups})
        raise DataError(f"no group {stratify!r} in these runs; there are: {', '.join(names) or 'none'}")
    known = {item.key for item in candidates}
    missing = [key for key in gold or {} if key not in known]
    if missing:
        raise DataError(f"the gold set names items that are not in the runs: {', '.join(missing[:5])}")
    certain = [item for item in candidates if item.key in (gold or {})]
    rest = [item for item in candidates if item.key not in (gold or {})]
    wanted = len(rest) if items is None else max(0, items - len(certain))
    drawn = _drawn(rest, wanted, stratify, seed)
    shared = {item.key for item in drawn[: ceil(overlap * len(drawn) - 1e-9)]}
    final = [replace(item, shared=item.key in shared) for item in [*certain, *drawn]]
    study_runs = tuple(_study_run(run) for run in runs)
    return Study(
        folder,
        task,
        tuple(types),
        tuple(show),
        check_names(annotators),
        seed,
        study_runs,
        tuple(final),
        dict(gold or {}),
    )


def _study_run(run: Run) -> StudyRun:
    return StudyRun(run.label, run.benchmark, str(run.folder.resolve()), file_hash(run.folder / RECORDS))


def _single(runs: Sequence[Run]) -> Iterable[StudyItem]:
    """One item per response that there is."""
    for number, run in enumerate(runs):
        for row in run.rows:
            text = row["response"]["text"]
            if text is not None and text.strip():
                yield _item(f"{number}/{row['id']}/{row['sample']}", row, [(number, text)])


def _comparable(runs: Sequence[Run], seed: int) -> Iterable[StudyItem]:
    """One item per prompt with different responses in two runs of a benchmark; which two, in which order, is drawn."""
    if len(runs) < 2:
        raise DataError("comparisons need two runs or more")
    by_benchmark: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        by_benchmark.setdefault(run.benchmark, []).append(number)
    for numbers in by_benchmark.values():
        rows = {number: {(row["id"], row["sample"]): row for row in runs[number].rows} for number in numbers}
        for key in dict.fromkeys(key for number in numbers for key in rows[number]):
            texts = {
                number: own[key]["response"]["text"]
                for number, own in rows.items()
                if key in own and (own[key]["response"]["text"] or "").strip()
            }
            pairs = [pair for pair in combinations(texts, 2) if texts[pair[0]] != texts[pair[1]]]
            if pairs:
                name = f"{runs[numbers[0]].benchmark}/{key[0]}/{key[1]}"
                first, second = min(pairs, key=lambda pair: place_in_draw(seed, "pair", name, *pair))
                if place_in_draw(seed, "order", name)[0] % 2:
                    first, second = second, first
                yield _item(name, rows[first][key], [(first, texts[first]), (second, texts[second])])


def _item(key: str, row: Record, texts: Sequence[tuple[int, str]]) -> StudyItem:
    image = row.get("image")
    return StudyItem(
        key=key,
        id=str(row["id"]),
        sample=int(row["sample"]),
        prompt=str(row.get("prompt") or row.get("question") or ""),
        image=None if image is None else {"folder": str(image["folder"]), "name": str(image["name"])},
        responses=tuple(StudyResponse(text, text_hash(text), number) for number, text in texts),
        cluster=str(image["name"]) if image is not None else cluster_of(row),
        groups={str(name): str(value) for name, value in (row.get("groups") or {}).items()},
        objects=tuple(objects_present(row)),
        boxes=tuple(dict(box) for box in boxes_present(row)),
        findings=tuple(dict(finding) for finding in row["score"].get("findings") or []) if len(texts) == 1 else (),
    )


def _drawn(candidates: Sequence[StudyItem], wanted: int, stratify: str | None, seed: int) -> list[StudyItem]:
    """The first `wanted` items in drawn order; with `stratify` each value has its share of every prefix."""
    order = sorted(candidates, key=lambda item: place_in_draw(seed, "draw", item.key))
    if stratify is None:
        return order[:wanted]
    strata: dict[str, list[StudyItem]] = {}
    for item in order:
        strata.setdefault(item.groups.get(stratify, ""), []).append(item)
    # the k-th of n items of a stratum stands at (k + 1/2) / n: strata are interleaved by their shares
    placed = [((rank + 0.5) / len(own), value, item) for value, own in strata.items() for rank, item in enumerate(own)]
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])][:wanted]
