"""Ready files of reference objects, and which reading of people's captions they were made with.

What counts as mentioned in a caption depends on the reading ("buses" and "men" are words of one and not of another), so
reference objects do too: those made with `singularize` differ from those of `pos_lemma` on 9 of OPERA's 500 images, by
up to 0.4 points of chair_s. A file may say how it was made; of the published ones it is known.

    {"made_with": "pos_lemma", "references": {image id: [object, ...]}}     or plainly {image id: [object, ...]}
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.files.rows import parse_json, read_text

MADE_WITH, REFERENCES = "made_with", "references"
PUBLISHED = {  # sha256 of files that do not say it themselves
    "747f13275883fb8e848d11ff46ef74d8f5a96a773fe4e90c96e292c6899525e8": "singularize",  # chair/coco_gt_objects.json
    "61d30d69745b06e65bfc057322e722e8f0801f0882f0c649bec8655642285485": "singularize",  # Object HalBench's, out of it
}


def read_ready(path: Path) -> Mapping[str, Any]:
    """Image id -> list of objects, of either form; the lists are not looked at.

    Raises:
        DataError: if the file is not such JSON.
    """
    rows = parse_json(read_text(path), str(path))
    if isinstance(rows, dict) and REFERENCES in rows:
        rows = rows[REFERENCES]
    if not isinstance(rows, dict) or not rows:
        raise DataError(f"{path}: expected a JSON object {{image id: [object, ...]}}")
    return rows


def made_with(path: Path) -> str | None:
    """The reading of captions behind a ready file; None where nobody says it.

    Raises:
        DataError: if the file cannot be read, or says something else than a name.
    """
    if (name := PUBLISHED.get(hashlib.sha256(path.read_bytes()).hexdigest())) is not None:
        return name
    rows = parse_json(read_text(path), str(path))
    said = rows.get(MADE_WITH) if isinstance(rows, dict) and REFERENCES in rows else None
    if said is not None and not isinstance(said, str):
        raise DataError(f"{path}: {MADE_WITH!r} must name a variant, found {str(said)[:60]}")
    return said


def mismatch(path: Path | None, variant: str, remedy: str) -> tuple[str, ...]:
    """A sentence where reference objects were made with another reading than responses are read with."""
    said = None if path is None else made_with(path)
    if said is None or said == variant:
        return ()
    return (
        f"{path} was made with {said}, responses are read with {variant}: some words are objects for one and not for "
        f"the other (up to 0.4 points of chair_s on 500 images); {remedy}",
    )
