"""Whether the files of a run belong together: manifest, records and metrics.json of one scoring, all of it.

A kill, a full disk or a copy of halves leaves files that are each in order and together show a number under a wrong
signature or n. Since 0.2 each names the others by checksum. For runs of 0.1.0 what can be compared is: how many samples
there are, how many are scored, the sums of their counts, and the signature.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from evalkit.errors import RecordError
from evalkit.files.foreign import read_regular
from evalkit.runs.checksums import MADE_FROM, digest, fits_own_sum, manifest_digest, unsealed
from evalkit.runs.records import MANIFEST, METRICS, RECORDS, RESPONSES
from evalkit.runs.signature import Signature
from evalkit.schema import Json


def remedy(folder: Path) -> str:
    """The command that mends a run whose journals are whole."""
    return f"`evalkit score {folder}` recomputes it from the journals"


def lost_manifest(folder: Path) -> bool:
    """Whether a folder holds a scored run but for its manifest.

    Raises:
        RecordError: if so: nothing says any more what its numbers are of.
    """
    if not (folder / MANIFEST).exists() and (folder / RECORDS).exists() and (folder / METRICS).exists():
        raise RecordError(
            f"{folder} holds the records of a run and no {MANIFEST}, which says what they are of; put it back from a "
            "copy, or remove the folder and make the run anew"
        )
    return False


def check_responses(folder: Path, manifest: Mapping[str, Json], said: Mapping[tuple[str, int], str | None]) -> None:
    """Whether the journal still holds the responses that a run was scored with, before it is scored again.

    Args:
        said: (item id, sample) -> text in the journal, None for a failed response.
    Raises:
        RecordError: if not: it is another run's, or was changed. Failed ones may have been generated since.
    """
    recorded = (manifest.get(MADE_FROM) or {}).get(RECORDS)
    try:
        data = read_regular(folder / RECORDS)
    except (OSError, RecordError):
        return
    if recorded is None or digest(data) != recorded:
        return  # damaged, or of 0.1.0: the journal counts
    for line in data.rstrip(b"\n").split(b"\n"):
        row = unsealed(line)[0]
        text = row["response"]["text"] if row["response"].get("raw") is None else row["response"]["raw"]
        if text is not None and said.get((row["id"], row["sample"])) != text:
            raise RecordError(
                f"{folder / RESPONSES}: another response to item {row['id']!r} than the run was scored with; it is "
                f"another run's or was changed: put it back, or remove {RECORDS} to score what it holds now"
            )


def check_count(folder: Path, manifest: Mapping[str, Json], rows: int) -> None:
    """Whether there is a record of every sample.

    Raises:
        RecordError: if not.
    """
    items, n = manifest.get("items"), (manifest.get("sampling") or {}).get("n", 1)
    if type(items) is int and type(n) is int and rows != items * n:
        raise RecordError(f"{folder / RECORDS}: {rows} of {items * n} samples, cut off or added to; {remedy(folder)}")


def are_recorded(manifest: Mapping[str, Json], records: str) -> bool:
    """Whether the manifest names this checksum as that of the records; one of 0.1.0 names none."""
    return (manifest.get(MADE_FROM) or {}).get(RECORDS) == records


def check_records(folder: Path, manifest: Mapping[str, Json], records: str) -> None:
    """Whether the records are those that the manifest was written with; `records` is the checksum of the file.

    Raises:
        RecordError: if not.
    """
    recorded = (manifest.get(MADE_FROM) or {}).get(RECORDS)
    if recorded is not None and recorded != records:
        raise RecordError(f"{folder / RECORDS} is not what {MANIFEST} was written with; {remedy(folder)}")


def check_results(
    folder: Path,
    manifest: Mapping[str, Json],
    results: Mapping[str, Json],
    counted: tuple[int, int] | None = None,
    sums: Mapping[str, float] | None = None,
) -> None:
    """Whether metrics.json was computed from this manifest and these records.

    Args:
        counted: scored and all records; None where only the manifest is at hand.
        sums: of the counts of the scored records.
    Raises:
        RecordError: if not.
    """
    if MADE_FROM in results and not fits_own_sum(results):
        raise RecordError(f"{folder / METRICS} was changed after it was written; {remedy(folder)}")
    made_from = results.get(MADE_FROM)
    if isinstance(made_from, dict):
        recorded = (manifest.get(MADE_FROM) or {}).get(RECORDS)
        if made_from.get(MANIFEST) != manifest_digest(manifest) or made_from.get(RECORDS) != recorded:
            raise RecordError(f"{folder / METRICS} was not computed from this {MANIFEST}; {remedy(folder)}")
    elif results.get("signature") not in (None, str(Signature.of(manifest)), manifest.get("signature")):
        raise RecordError(f"{folder / METRICS} has another signature than {MANIFEST}; {remedy(folder)}")
    stored_n = (results["n_scored"], results["n_total"])
    if counted is not None and counted != stored_n:
        both = f"{stored_n[0]} of {stored_n[1]} samples, {RECORDS} of {counted[0]} of {counted[1]}"
        raise RecordError(f"{folder / METRICS} is of {both}; {remedy(folder)}")
    if sums is not None:
        _check_sums(folder, results.get("sums") or {}, sums)


def _check_sums(folder: Path, stored: Mapping[str, Json], sums: Mapping[str, float]) -> None:
    for name, value in stored.items():
        if type(value) not in (int, float) or not math.isclose(value, sums.get(name, 0.0), rel_tol=1e-9, abs_tol=1e-9):
            raise RecordError(
                f"{folder / METRICS}: {name!r} sums to {value}, in {RECORDS} to {sums.get(name, 0)}; {remedy(folder)}"
            )
