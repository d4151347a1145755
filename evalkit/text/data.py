"""Language data in NLTK's formats: where it lies, whether it is there, and what it calls itself."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import AssetError

REMEDY = (
    "run `python -m nltk.downloader punkt_tab averaged_perceptron_tagger_eng wordnet`, "
    "or set NLTK_DATA to a folder that holds them"
)
LANGUAGE_FILE = "language.json"  # beside data in NLTK's formats that is not NLTK's own: {"name": ...}
PACKAGES = (  # where each package lies below a data folder, unpacked or not
    ("tokenizers/punkt_tab/english/",),
    ("taggers/averaged_perceptron_tagger_eng/",),
    ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"),
)


def use_named_folders() -> None:
    """Let NLTK look into the folders that the environment names now, not only at its own import."""
    import nltk.data

    named = os.environ.get("NLTK_DATA", "").split(os.pathsep)
    for folder in reversed([folder for folder in named if folder]):
        if folder not in nltk.data.path:
            nltk.data.path.insert(0, folder)
    mirror = os.environ.get("EVALKIT_ASSETS")
    if mirror and (folder := os.path.join(mirror, "nltk_data")) not in nltk.data.path:
        nltk.data.path.append(folder)


def find_data(places: Sequence[str]) -> Any:
    """NLTK's path pointer to the first of some places that a data folder has; None if none has one."""
    import nltk.data

    use_named_folders()
    for place in places:
        try:
            return nltk.data.find(place)
        except LookupError:
            continue
    return None


def language_data() -> str | None:
    """What the language data that is read here calls itself; None for NLTK's own data, or where there is none.

    A score depends on it, so it stands in the signature. Other data in NLTK's formats names itself in language.json at
    the top of its folder.

    Raises:
        AssetError: if such a file cannot be read.
    """
    names = []
    for places in PACKAGES:
        folder = find_data(places)
        if folder is not None:
            root = Path(str(folder)).parents[len(places[0].strip("/").split("/")) - 1]
            names.append(_own_name(root / LANGUAGE_FILE))
    return "+".join(dict.fromkeys(filter(None, names))) or None


def _own_name(marker: Path) -> str | None:
    if not marker.is_file():
        return None
    try:
        return str(json.loads(marker.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AssetError(f"{marker} does not name its language data: {error!r}; expected {{'name': ...}}") from error


def has_language_data() -> bool:
    """Whether sentences, tags and lemmas can be had here, from NLTK's own data or other."""
    return all(find_data(places) is not None for places in PACKAGES)


def missing(package: str) -> AssetError:
    return AssetError(f"NLTK data {package!r} is not installed; {REMEDY}")
