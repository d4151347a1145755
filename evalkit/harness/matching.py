"""Whether what is asked for now is what a run directory already holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evalkit.errors import RecordError
from evalkit.runs.checksums import NOT_IDENTITY
from evalkit.runs.records import MANIFEST, RESPONSES, read_journal, read_manifest, write_json
from evalkit.schema import Json


def write_or_match(run_dir: Path, manifest: dict[str, Json], fields: Sequence[str]) -> None:
    """Write the manifest of a new run; that of an old one must agree in some fields.

    Raises:
        RecordError: if it does not, or there are responses and no manifest that says whose they are.
    """
    if (run_dir / MANIFEST).exists():
        _match(run_dir, read_manifest(run_dir), manifest, fields, "choose another output folder")
    elif read_journal(run_dir / RESPONSES):
        raise RecordError(
            f"{run_dir / RESPONSES} holds responses, and {MANIFEST}, which says whose they are, is missing: "
            f"put it back, or remove {RESPONSES}"
        )
    else:
        write_json(run_dir / MANIFEST, manifest)


def _match(run_dir: Path, old: Mapping[str, Json], new: Mapping[str, Json], fields: Sequence[str], remedy: str) -> None:
    for name in fields:
        there, here = _without_plumbing(old.get(name)), _without_plumbing(new.get(name))
        if there != here:
            raise RecordError(f"{run_dir} holds a run with another {name}: {_difference(there, here)}; {remedy}")


def match_scoring(run_dir: Path, old: Mapping[str, Json], new: Mapping[str, Json]) -> None:
    """A scored run is scored again with the settings and the judge that it was scored with."""
    remedy = "use --rescore to score it again with these settings"
    _match(run_dir, old, new, ("settings", *(["thoughts"] if "thoughts" in old else [])), remedy)
    if old.get("judge") and not new["judge"]:
        raise RecordError(f"{run_dir} was scored with the judge {old['judge'].get('model')!r}; name it with --judge")
    _match(run_dir, old, new, ("judge",), remedy)


def _without_plumbing(description: Json) -> Json:
    """A description without what leaves the answers alone: a run may go on with another batch size."""
    if not isinstance(description, dict):
        return description
    return {name: value for name, value in description.items() if name not in NOT_IDENTITY}


def _difference(old: Json, new: Json) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return "; ".join(f"{name} {old.get(name)!r} there, {new.get(name)!r} here" for name in names[:3])
    return f"{old!r} there, {new!r} here"
