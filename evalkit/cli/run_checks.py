"""`evalkit doctor --run RUN`: whether a run's files are whole, unchanged, and of one scoring."""

from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from evalkit.analysis.front_file import fits
from evalkit.cli.doctor import Check
from evalkit.errors import RecordError
from evalkit.runs.belonging import remedy
from evalkit.runs.checksums import MADE_FROM
from evalkit.runs.records import (
    FRONT,
    MANIFEST,
    METRICS,
    RECORDS,
    RESPONSES,
    VERDICTS,
    lines_with_checksum,
    read_journal,
    read_manifest,
)
from evalkit.runs.run import Run, load_run
from evalkit.text.thoughts import STANDARD

UNSEALED = "written before checksums (0.1.0): a flipped bit would go unnoticed"
Key = tuple[Any, Any]
T = TypeVar("T")


def run_checks(folder: Path) -> Iterator[Check]:
    """One finding per file of a run; state "missing" where something is damaged or does not belong, with the remedy."""
    manifest = yield from _tried("manifest", lambda: read_manifest(folder))
    if manifest is None:
        return
    yield Check("manifest", "ok", f"{manifest.get('benchmark')}, {manifest.get('label')!r}")
    remarks = manifest.get("remarks")
    for remark in remarks if isinstance(remarks, list) else ():
        yield Check("remark", "note", str(remark))
    said = yield from _journal(folder / RESPONSES)
    ruled: list[dict[str, Any]] | None = []
    if (folder / VERDICTS).exists():
        ruled = yield from _journal(folder / VERDICTS)
    if "metrics" not in manifest:
        yield Check("records", "note", f"not scored yet; `evalkit score {folder}`")
        return
    run = yield from _tried("records", lambda: load_run(folder))
    if run is None:
        return
    yield from _scored(folder, run, said, ruled)


def _scored(
    folder: Path, run: Run, said: list[dict[str, Any]] | None, ruled: list[dict[str, Any]] | None
) -> Iterator[Check]:
    """Records, metrics and fronts of a run that could be read."""
    named = (run.manifest.get(MADE_FROM) or {}).get(RECORDS)
    text = f"{len(run.scored)} of {len(run.rows)} samples scored; "
    yield Check(
        "records",
        "note" if named is None else "ok",
        text + (UNSEALED if named is None else f"checksum {named} as in {MANIFEST}"),
    )
    if said is not None:
        yield _same_texts(folder, run, said)
    if ruled is not None and (verdicts := [dict(row) for record in run.rows for row in _told(record.get("verdict"))]):
        yield _same_verdicts(folder, verdicts, ruled)
    if not run.results:
        yield Check("metrics", "missing", f"{METRICS} is absent; {remedy(folder)}")
        return
    checked = yield from _tried("metrics", lambda: _checked(run))
    if checked is None:
        return
    if run.results.get(MADE_FROM) is None:
        yield Check("metrics", "note", f"signature, n and sums agree with the records; {UNSEALED}")
    else:
        yield Check("metrics", "ok", f"computed from this {MANIFEST} and these records")
    if (folder / FRONT).exists():
        fronts = yield from _tried("fronts", lambda: fits(run))
        if fronts is not None:
            text = "of these records" if fronts else f"of other records; `evalkit front {folder}` makes new ones"
            yield Check("fronts", "ok" if fronts else "missing", text)


def _tried(name: str, read: Callable[[], T]) -> Generator[Check, None, T | None]:
    """What `read` gives; None and a finding where it cannot be read."""
    try:
        return read()
    except RecordError as error:
        yield Check(name, "missing", str(error))
        return None


def _journal(path: Path) -> Generator[Check, None, list[dict[str, Any]] | None]:
    name = path.stem
    if not path.exists():
        yield Check(name, "missing", f"{path}: no such journal; the run cannot be scored again")
        return None
    rows = yield from _tried(name, lambda: read_journal(path))
    if rows is None:
        return None
    sealed, torn = lines_with_checksum(path)
    text = f"{len(rows)} lines, {sealed} with a checksum that fits"
    if sealed < len(rows):
        text += f"; the others were {UNSEALED}"
    if torn:
        text += "; a torn last line is left out"
    yield Check(name, "ok" if sealed == len(rows) and not torn else "note", text)
    return rows


def _checked(run: Run) -> bool:
    run.check()
    return True


def _same_texts(folder: Path, run: Run, said: list[dict[str, Any]]) -> Check:
    """Whether the records hold the responses of the journal; thoughts that were taken off stand in `raw`."""
    journal: Mapping[Key, Any] = {(row.get("id"), row.get("sample")): row.get("text") for row in said}
    other = [
        row["id"]
        for row in run.rows
        if (key := (row["id"], row.get("sample", 0))) not in journal or journal[key] != _as_said(row["response"])
    ]
    if other:
        more = f"{len(other)} records differ in their text from {RESPONSES}, e.g. of item {other[0]!r}"
        return Check("texts", "missing", f"{more}; {remedy(folder)}")
    return Check("texts", "ok", f"the records hold the responses of {RESPONSES}")


def _told(verdict: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of the judge's journal behind a record, those of further rounds among them."""
    if isinstance(verdict, dict):
        if isinstance(verdict.get("key"), str):
            yield verdict
        rounds = verdict.get("rounds")
        yield from (row for part in (rounds.values() if isinstance(rounds, dict) else ()) for row in _told(part))


def _same_verdicts(folder: Path, verdicts: list[dict[str, Any]], ruled: list[dict[str, Any]]) -> Check:
    """Whether the journal still holds the verdicts that the records were scored with; thoughts may be taken off."""
    replies: dict[Any, set[Any]] = {}
    for row in ruled:
        said = row.get("reply")
        answer = STANDARD.take_off(said).answer if isinstance(said, str) else said
        replies.setdefault(row.get("key"), set()).update({said, answer} if isinstance(said, str | None) else set())
    lost = [row["id"] for row in verdicts if row["key"] not in replies]
    other = [row["id"] for row in verdicts if row["key"] in replies and row.get("reply") not in replies[row["key"]]]
    if not lost and not other:
        return Check("replies", "ok", f"the records hold the replies of {VERDICTS}")
    what = f"{len(lost)} verdicts of the records are gone" if lost else f"{len(other)} replies are others"
    remedy_of = f"put it back, or `evalkit score {folder} --judge ...` asks again"
    return Check("replies", "missing", f"{folder / VERDICTS}: {what}, e.g. of item {(lost or other)[0]!r}; {remedy_of}")


def _as_said(response: Mapping[str, Any]) -> Any:
    return response["raw"] if response.get("raw") is not None else response["text"]
