"""Images under test: files below an image folder, opened safely and in one way for everybody.

Whatever looks at a photograph sees the same picture: the model under test, a server, training, a thumbnail. So opening
lies here and nowhere else, and it

* turns the picture upright, as its EXIF orientation says (a telephone stores its photographs sideways);
* brings 16-bit, 32-bit and float samples down to 8 bits over their whole range, instead of clipping them to white;
* refuses what is not an image, is cut off, or has more than MAX_PIXELS pixels, and names the file.

A benchmark that embeds its images (base64, Parquet) extracts them once into a folder (`evalkit.files.embedded`), so
that every layer above sees one kind of image only.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from evalkit.errors import DataError

MAX_PIXELS = 100_000_000  # a 100-megapixel photograph; beyond it a file is taken for a decompression bomb
ORIENTATION = 0x0112  # EXIF tag
SENT_AS_THEY_ARE = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}  # what every server reads
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, Image.DecompressionBombError)


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
            exists = path.is_file()
        except (OSError, ValueError) as error:  # a name too long, a NUL, links in a circle
            raise DataError(f"image {self.name[:200]!r} cannot be found in {self.folder}: {_reason(error)}") from error
        if not path.is_relative_to(folder):
            raise DataError(f"image {self.name!r} leads out of the image folder {self.folder}")
        if not exists:
            raise DataError(f"image {self.name!r} is missing: no file {self.folder / self.name}")
        return path

    def is_there(self) -> bool:
        """Whether the name stands for a file, wherever it leads; `path` checks the rest."""
        try:
            return (self.folder / self.name).is_file()
        except (OSError, ValueError):  # no file can have such a name
            return False

    def open(self) -> Image.Image:
        """Decode to RGB: upright, 8 bits a sample.

        Raises:
            DataError: if the file is missing, truncated, not an image, or has more than MAX_PIXELS pixels.
        """
        with opened(self.path, self.name) as image:
            return upright_rgb(image)

    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture, by the file's header.

        Raises:
            DataError: if the file is missing, not an image, or has more than MAX_PIXELS pixels.
        """
        with opened(self.path, self.name) as image:
            as_stored = getattr(image, "_tile_size", image.size) == image.size  # of a TIFF, Pillow says it upright
            sideways = orientation(image) >= 5 and as_stored
            return (image.height, image.width) if sideways else (image.width, image.height)

    def for_server(self) -> tuple[str, bytes]:
        """(media type, bytes) to send: the file's own bytes where every server shows them as `open` does, else a PNG.

        The file is encoded again if it is not upright, deeper than 8 bits, or of a format that servers refuse (MPO,
        TIFF, BMP) or show the first picture of at best (GIF, animations).

        Raises:
            DataError: if the file is missing, truncated or not an image.
        """
        path = self.path
        with opened(path, self.name) as image:
            kind = SENT_AS_THEY_ARE.get(image.format or "")
            plain = (
                orientation(image) == 1 and image.mode not in DEEP_MODES and not getattr(image, "is_animated", False)
            )
            if kind is not None and plain:
                return kind, path.read_bytes()
            picture = upright_rgb(image)
        out = io.BytesIO()
        picture.save(out, "PNG")
        return "image/png", out.getvalue()

    def sha256(self) -> str:
        """Hash of the file's bytes, hexadecimal.

        Raises:
            DataError: if the name leads out of the folder, or no such file is there.
        """
        path, stat = self._located()
        return _file_sha256(path, stat.st_mtime_ns, stat.st_size)

    def _located(self) -> tuple[str, os.stat_result]:
        """A path to the file, and what the disk says of it; a name that is no link and no path leads nowhere else."""
        if os.path.basename(self.name) == self.name:
            try:
                path = os.path.join(os.getcwd(), self.folder, self.name)
                stat = os.lstat(path)
            except (OSError, ValueError):
                pass  # `path` says what is wrong
            else:
                if S_ISREG(stat.st_mode):
                    return path, stat
        return str(self.path), self.path.stat()


@contextmanager
def opened(source: Path | IO[bytes], name: str, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """A picture with its header read, within the limits of size.

    It is read from a stream: of a path, Pillow maps some TIFFs into memory and turns them askew.

    Args:
        source: a file, or its bytes as a stream.
        name: how errors name it.
        formats: accept these of Pillow's formats only.
    Raises:
        DataError: if it is not an image, has more than MAX_PIXELS pixels, or is cut off, also while the block reads.
    """
    try:
        with (
            source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream,
            Image.open(stream, formats=formats) as image,
        ):
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"image {name!r} has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            yield image
    except UnidentifiedImageError as error:
        where = f": {source}" if isinstance(source, Path) else ""
        raise DataError(f"image {name!r} is not an image{where}") from error
    except _UNREADABLE as error:
        raise DataError(f"image {name!r} cannot be read: {error}") from error


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where there is none, or one that means nothing."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, EOFError, AttributeError):
        return 1  # damaged metadata of a sound picture
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture upright, in RGB with 8 bits a sample.

    Samples of more than 8 bits are scaled over their range: 16 bits by 65535; 32-bit integers by 65535 if no sample is
    larger, else by their own extremes; floats within 0 to 1 by 1, within 0 to 255 not at all, others by their extremes.

    Raises:
        ValueError: for a float picture with a sample that is NaN or infinite.
    """
    image.load()  # a TIFF is turned by Pillow while it is read, and says afterwards that it is upright
    turn = orientation(image)
    if image.mode in DEEP_MODES:
        image = _eight_bits(image)
        image.getexif()[ORIENTATION] = turn
    elif turn == 1:
        return image.convert("RGB")
    return ImageOps.exif_transpose(image).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    samples = np.asarray(image).astype(np.float64)
    if not np.isfinite(samples).all():
        raise ValueError("a sample is NaN or infinite")
    low, high = float(samples.min()), float(samples.max())
    if image.mode == "F":
        if low >= 0.0 and high <= 1.0:
            low, high = 0.0, 1.0
        elif low >= 0.0 and high <= 255.0:
            low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    span = high - low
    scaled = (samples - low) * (255.0 / span) if span > 0 else np.zeros_like(samples)
    return Image.fromarray(np.rint(scaled).astype(np.uint8), "L")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)[:200]


@lru_cache(maxsize=200_000)
def _file_sha256(path: str, mtime_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
