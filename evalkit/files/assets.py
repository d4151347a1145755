"""Official data: every file has a name, a pinned address, a sha256, a size and a licence; `assets.toml` is the table.

A file is looked for in the mirror folder (EVALKIT_ASSETS), then in the cache folder, then at its address, unless
EVALKIT_OFFLINE or HF_HUB_OFFLINE is set. Its name is its path below either folder. What has no stable address comes
with instructions.
"""

import hashlib
import os
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

from evalkit.errors import AssetError
from evalkit.files.atomic import replaced
from evalkit.files.cache import cache_folder

MIRROR_VARIABLE = "EVALKIT_ASSETS"
OFFLINE_VARIABLES = ("EVALKIT_OFFLINE", "HF_HUB_OFFLINE")
TIMEOUT_S = 60.0
LARGEST_UNKNOWN = 200_000_000  # bytes read of a file whose size is not known


@dataclass(frozen=True, slots=True)
class Asset:
    """One official file. `url`, `sha256` and `size` are None where they are not known; `how` says what to do then."""

    name: str
    licence: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    how: str | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """Images or annotations without a stable address, and how to get them."""

    name: str
    how: str
    licence: str


@dataclass(frozen=True, slots=True)
class AssetState:
    """Where an asset is now: "mirror", "cache", "absent", or "wrong sha256"; `path` is None if it is absent."""

    asset: Asset
    state: str
    path: Path | None


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, Asset], tuple[Folder, ...]]:
    table = tomllib.loads(files("evalkit").joinpath("assets.toml").read_text("utf-8"))
    return {row["name"]: Asset(**row) for row in table["file"]}, tuple(Folder(**row) for row in table["folder"])


def all_assets() -> dict[str, Asset]:
    """Every official file by name."""
    return dict(_table()[0])


def folders() -> tuple[Folder, ...]:
    """What has to be fetched by hand."""
    return _table()[1]


def mirror_folder() -> Path | None:
    """The mirror folder, None if there is none."""
    folder = os.environ.get(MIRROR_VARIABLE)
    return Path(folder) if folder else None


def download_folder() -> Path:
    """Where downloaded files are kept."""
    return cache_folder() / "assets"


def is_on(variable: str) -> bool:
    """Whether an environment variable is set to anything but a word for no."""
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no", "off")


def is_offline() -> bool:
    """Whether the environment forbids downloads."""
    return any(map(is_on, OFFLINE_VARIABLES))


def asset(name: str) -> Path:
    """The official file of that name, checked.

    Raises:
        AssetError: if the name is unknown, the file is not here and cannot be fetched, or it has another sha256.
    """
    wanted = find_asset(name)
    path = _local(wanted)
    return check(wanted, path) if path is not None else fetch(wanted)


def find_asset(name: str) -> Asset:
    """The table's row.

    Raises:
        AssetError: if there is none.
    """
    known = all_assets()
    if name not in known:
        near = get_close_matches(name, known, 3, 0.4)
        raise AssetError(f"no official file {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    return known[name]


def matching(patterns: Iterable[str]) -> list[Asset]:
    """Assets that a name, a folder ("some/folder") or a pattern ("*/words.txt") selects; all of them for no pattern.

    Raises:
        AssetError: if a pattern fits none.
    """
    known = all_assets()
    wanted = [pattern.rstrip("/") for pattern in patterns]
    selected: dict[str, Asset] = {} if wanted else known
    for pattern in wanted:
        fitting = {name: row for name, row in known.items() if _selects(pattern, name)}
        selected |= fitting or {pattern: find_asset(pattern)}
    return list(selected.values())


def _selects(pattern: str, name: str) -> bool:
    return name == pattern or name.startswith(pattern + "/") or fnmatchcase(name, pattern)


def state(wanted: Asset) -> AssetState:
    """Where the file is, and whether its bytes are the pinned ones; nothing is downloaded."""
    path = _local(wanted)
    if path is None:
        return AssetState(wanted, "absent", None)
    try:
        check(wanted, path)
    except AssetError:
        return AssetState(wanted, "wrong sha256", path)
    mirror = mirror_folder()
    return AssetState(wanted, "mirror" if mirror and path.is_relative_to(mirror) else "cache", path)


def check(wanted: Asset, path: Path) -> Path:
    """The path, if the file is the pinned one (a file without a known sha256 passes).

    Raises:
        AssetError: if it is not, or cannot be read.
    """
    try:
        stat = path.stat()
        digest = _sha256(path, stat.st_mtime_ns, stat.st_size) if wanted.sha256 else None
    except OSError as error:
        raise AssetError(f"{path} cannot be read: {error.strerror}") from error
    if digest != wanted.sha256:
        raise AssetError(
            f"{path} is not the official file: sha256 {digest}, expected {wanted.sha256}; "
            f"remove it and run `evalkit assets fetch {wanted.name}`"
        )
    return path


@lru_cache(maxsize=1000)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _local(wanted: Asset) -> Path | None:
    places = [folder for folder in (mirror_folder(), download_folder()) if folder is not None]
    return next((folder / wanted.name for folder in places if (folder / wanted.name).is_file()), None)


def fetch(wanted: Asset) -> Path:
    """Download into the cache folder, check, and only then put in place.

    Raises:
        AssetError: if there is no address, downloads are forbidden or fail, or the bytes are not the pinned ones.
    """
    remedy = f"put it into {mirror_folder() or '$' + MIRROR_VARIABLE}/{wanted.name}"
    if wanted.url is None:
        raise AssetError(f"{wanted.name} has no address: {wanted.how}; then {remedy}")
    if is_offline():
        offline = " or ".join(OFFLINE_VARIABLES)
        raise AssetError(f"{wanted.name} is not here and {offline} forbids downloads; get {wanted.url} and {remedy}")
    path = download_folder() / wanted.name
    try:
        with replaced(path, shared=True) as beside:
            _download(wanted, beside)
            check(wanted, beside)
    except (OSError, HTTPException) as error:
        raise AssetError(f"{wanted.url} cannot be downloaded: {error}; get it elsewhere and {remedy}") from error
    except AssetError as error:
        raise AssetError(f"{wanted.url} gave other bytes than the official ones ({error}); {remedy}") from error
    return path


def _download(wanted: Asset, target: Path) -> None:
    assert wanted.url is not None
    limit = LARGEST_UNKNOWN if wanted.size is None else wanted.size
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "hallu-evalkit"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply, target.open("wb") as file:
        read = 0
        while chunk := reply.read(1 << 20):
            read += len(chunk)
            if read > limit:
                raise AssetError(f"more than {limit:,} bytes")
            file.write(chunk)
    if wanted.size is not None and read != wanted.size:
        raise AssetError(f"{read:,} bytes instead of {wanted.size:,}")
