"""The released files: from the mirror folder (EVALKIT_ASSETS/released), else from the commit where they were found.

index.tsv: file, repository, commit, path there, sha256 of the unpacked file, and the file of the same model without the
method, where there is one. Only rows with a whole commit and a path to one file can be fetched; of the others the
commit or the path is not known in full, or the file was shortened, so that they come from a mirror folder alone.
"""

import csv
import gzip
import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evalkit.errors import AssetError
from evalkit.files.assets import Asset, download_folder, fetch, mirror_folder

INDEX = Path(__file__).with_name("index.tsv")
_WHOLE_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Released:
    """A row of the index; `base` is None where no file serves as one."""

    file: str
    repository: str
    commit: str
    path: str
    sha256: str
    base: str | None

    @property
    def address(self) -> str | None:
        """Where its bytes are, unpacked; None if the index does not say it in full."""
        if not _WHOLE_COMMIT.fullmatch(self.commit) or self.path.endswith("/"):
            return None
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


@cache
def index() -> dict[str, Released]:
    """Every released file by its name below the folder."""
    with INDEX.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    return {row[0]: Released(*row[:5], row[5] or None) for row in rows}


def unpacked(name: str, folder: Path) -> Path:
    """The file without gzip, its bytes checked, below `folder`; JSON documents get the name ending they need.

    Raises:
        AssetError: if it is neither in the mirror folder nor to be fetched, or its bytes are others.
    """
    row = index()[name]
    content = _content(row)
    found = hashlib.sha256(content).hexdigest()
    if found != row.sha256:
        raise AssetError(f"released file {name}: sha256 {found}, expected {row.sha256}")
    path = folder / name.removesuffix(".gz")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


def _content(row: Released) -> bytes:
    for folder in filter(None, (mirror_folder(), download_folder())):
        packed = folder / "released" / row.file
        if packed.is_file():
            return _unpacked(packed) if row.file.endswith(".gz") else packed.read_bytes()
        plain = packed.with_name(packed.name.removesuffix(".gz"))
        if plain.is_file():
            return plain.read_bytes()
    if row.address is None:
        raise AssetError(f"released file {row.file} is in no mirror folder, and its address is not known in full")
    name = f"released/{row.file.removesuffix('.gz')}"
    return fetch(Asset(name, "see the repository", row.address, row.sha256)).read_bytes()


def _unpacked(packed: Path) -> bytes:
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise AssetError(f"{packed}: cannot be unpacked: {error}; remove it or copy it again") from error


def document(name: str, folder: Path) -> dict[str, object]:
    """A released JSON document."""
    found = json.loads(unpacked(name, folder).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise AssetError(f"released file {name}: expected a JSON object")
    return found
