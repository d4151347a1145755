"""rlaif.json: what an online feedback run is, and which models played its parts.

    settings   what was known when the run began; the same in every process that works on it
    roles      policy, splitter and labeler as each described itself at its first work in this run

A model is opened when it has work and not to be described, so a role is noted, and compared, at that point: the process
that samples needs no labeler, and the one that labels no policy. In files of 0.1.0 the roles stood among the settings.
"""

from collections.abc import Mapping
from pathlib import Path

from aligners.training.stages import MANIFEST, claim_settings, settings_hash
from evalkit.errors import RecordError
from evalkit.runs.records import read_json, write_json
from evalkit.schema import Json

RUN = "rlaif.json"
OLD_ROLES = {"start_content": "policy", "splitter": "splitter", "labeler": "labeler"}


def claim_run(out: Path, settings: Mapping[str, Json]) -> None:
    """Make a folder this run's, or make sure that it is.

    Raises:
        RecordError: if it holds a run with other settings.
    """
    for path in (out / RUN, *out.glob(f"iteration_*/{MANIFEST}")):
        _take_over(path)
    claim_settings(out / RUN, settings)


def _take_over(path: Path) -> None:
    """Move the roles of a file of 0.1.0 out of its settings."""
    if not path.is_file():
        return
    content = read_json(path)
    settings = content.get("settings", content)
    if not any(name in settings for name in OLD_ROLES):
        return
    kept = {name: value for name, value in settings.items() if name not in OLD_ROLES}
    roles = {OLD_ROLES[name]: settings[name] for name in OLD_ROLES if settings.get(name) is not None}
    others = {name: value for name, value in content.items() if name not in ("settings", "settings_hash")}
    rest = others if "settings" in content else {}
    write_json(path, {"settings": kept, "settings_hash": settings_hash(kept), **rest, "roles": roles})


def note_role(out: Path, role: str, identity: Json) -> None:
    """Note who plays a role, or make sure that it is who played it before.

    Raises:
        RecordError: if it was somebody else.
    """
    path = out / RUN
    content = read_json(path)
    before = content.get("roles", {}).get(role)
    if before is None:
        content.setdefault("roles", {})[role] = identity
        write_json(path, content)
    elif before != identity:
        raise RecordError(
            f"{out} belongs to a run with another {role}: {_differences(before, identity)}; "
            "use another folder, or remove this one"
        )


def roles_of(out: Path) -> dict[str, Json]:
    """Role -> its identity, of those that have worked."""
    roles: dict[str, Json] = read_json(out / RUN).get("roles", {})
    return roles


def _differences(before: Json, now: Json) -> str:
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{_short(before)} there, {_short(now)} here"
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(f"{name} {_short(before.get(name))} there, {_short(now.get(name))} here" for name in names)


def _short(value: Json) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
