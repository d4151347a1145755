"""Images under test: files below an image folder, opened safely.

A benchmark that embeds its images (base64, parquet) extracts them once into a folder, so that every layer above sees
one kind of image only. Errors name the item's file.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from evalkit.errors import DataError

MAX_PIXELS = 100_000_000  # a 100-megapixel photograph; beyond it a file is taken for a decompression bomb


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image `name` (may hold sub-folders) below `folder`; it can't lead out of the folder."""

    folder: Path
    name: str

    @classmethod
    def at(cls, path: str, folder: Path) -> "ImageFile":
        """The image at a path: an absolute one, or one that begins at `folder`."""
        own = Path(path)
        return cls(own.parent, own.name) if own.is_absolute() else cls(folder, path)

    @property
    def path(self) -> Path:
        """The file on disk.

        Raises:
            DataError: if the name leads out of the folder, or no such file is there.
        """
        try:
            folder = os.path.realpath(self.folder)
            path = Path(os.path.realpath(os.path.join(folder, self.name)))
            found = path.is_file()
        except (OSError, ValueError) as error:  # a name too long, a NUL, links in a circle
            raise DataError(f"image {self.name[:200]!r} cannot be found in {self.folder}: {_reason(error)}") from error
        if not path.is_relative_to(folder):
            raise DataError(f"image {self.name!r} leads out of the image folder {self.folder}")
        if not found:
            raise DataError(f"image {self.name!r} is missing: no file {self.folder / self.name}")
        return path

    def is_there(self) -> bool:
        """Whether the name stands for a file, wherever it leads; `path` checks the rest."""
        try:
            return (self.folder / self.name).is_file()
        except (OSError, ValueError):  # no file can have such a name
            return False

    def open(self) -> Image.Image:
        """Decode to RGB.

        Raises:
            DataError: if the file is missing, truncated, not an image, or has more than MAX_PIXELS pixels.
        """
        path = self.path
        try:
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(
                        f"image {self.name!r} has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}"
                    )
                return image.convert("RGB")
        except UnidentifiedImageError as error:
            raise DataError(f"image {self.name!r} is not an image: {path}") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"image {self.name!r} cannot be read: {error}") from error

    def sha256(self) -> str:
        """Hash of the file's bytes, hexadecimal."""
        path = self.path
        stat = path.stat()
        return _file_sha256(path, stat.st_mtime_ns, stat.st_size)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)[:200]


@lru_cache(maxsize=200_000)
def _file_sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
