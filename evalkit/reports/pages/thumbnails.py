"""Small copies of a run's images, for showing: nothing but pictures below an image folder can be read through here.

A run directory is untrusted: its records name image folders and files. So:

* the file must lie below the folder (`evalkit.images.ImageFile`), links resolved;
* the folder must not be the root of the file system, a home directory, one above it, or a system folder;
* the file needs the suffix of a raster format and must decode as one of them (no EPS: that runs a program), within the
  limits of size below;
* what is shown is the decoded picture, encoded again: never a byte of the file, nor its metadata.

If image folders are given, records' own folders are not used at all: images are looked for there, by name.

What is sent around (`picture_to_send`) is held tighter: a page takes pictures from folders that the user named and from
the runs' own, and from nowhere else. A run of somebody else that names ~/Pictures puts none of them into your page.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from evalkit.errors import DataError
from evalkit.images import ImageFile, opened, upright_rgb
from evalkit.schema import Json

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
LARGEST_FILE = 64 << 20  # bytes
SYSTEM_FOLDERS = ("/etc", "/proc", "/sys", "/dev", "/boot")


def thumbnail(image: Mapping[str, Json] | None, width: int, folders: Sequence[Path] = ()) -> bytes:
    """A record's image as JPEG, at most `width` pixels wide and as many high.

    Args:
        image: {"folder", "name"} of a record.
        folders: where to look instead of the record's own folder.
    Raises:
        DataError: if there is none, it may not be read, is missing or no picture; the message names the path.
    """
    if image is None:
        raise DataError("this item has no image")
    name = str(image["name"])
    tried = [Path(folder) for folder in folders] or [Path(str(image["folder"]))]
    problem = DataError(f"image {name!r} is missing")
    for folder in tried:
        try:
            if not folders:
                check_folder(folder)
            return _small(folder, name, width)
        except DataError as error:
            problem = error
    raise problem


def picture_to_send(image: Mapping[str, Json], width: int, folders: Sequence[Path]) -> bytes:
    """`thumbnail` for a page that leaves this machine.

    Args:
        folders: pictures are taken from these and below them alone: where the record says if that is there, else by
            the name.
    Raises:
        DataError: if it lies elsewhere, is missing or no picture; the message names the remedy.
    """
    place, name = Path(str(image["folder"])), str(image["name"])
    for folder in folders:
        with suppress(DataError):
            return _small(folder, name, width)
        with suppress(DataError, OSError, ValueError):  # a name too long, a NUL, links in a circle
            if place.resolve().is_relative_to(folder.resolve()):
                return _small(place, name, width)
    raise DataError(f"image {name!r} is left out: {str(place)!r} is not one of the folders named with --images")


def check_folder(folder: Path) -> None:
    """Refuse folders that no record has any business to name.

    Raises:
        DataError: for the root, home directories and those above, system folders, relative paths.
    """
    if not folder.is_absolute() or "\x00" in str(folder):
        raise DataError(f"image folder {str(folder)!r}: expected an absolute path; name it with --images")
    resolved = folder.resolve()
    home = Path.home().resolve()
    system = any(resolved.is_relative_to(place) for place in SYSTEM_FOLDERS)
    if system or resolved == Path(resolved.anchor) or home.is_relative_to(resolved) or resolved.parent == Path("/home"):
        raise DataError(f"images are not read from {str(folder)!r}; if they lie there, name the folder with --images")


def _small(folder: Path, name: str, width: int) -> bytes:
    if "\x00" in name:
        raise DataError(f"image {name!r}: not a file name")
    if Path(name).suffix.lower() not in SUFFIXES:
        raise DataError(f"image {name!r} is not shown: expected one of {', '.join(SUFFIXES)}")
    try:
        path = ImageFile(folder, name).path
        stat = path.stat()
    except OSError as error:
        raise DataError(f"image {name!r} cannot be read: {error.strerror}") from error
    if stat.st_size > LARGEST_FILE:
        raise DataError(f"image {name!r} has {stat.st_size:,} bytes, more than {LARGEST_FILE:,}")
    return _encoded(path, stat.st_mtime_ns, width)


@lru_cache(maxsize=256)
def _encoded(path: Path, mtime_ns: int, width: int) -> bytes:
    with opened(path, path.name, FORMATS) as image:
        image.draft("RGB", (2 * width, 2 * width))  # of JPEG only
        small = upright_rgb(image)
    small.thumbnail((width, width))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=88)
    return out.getvalue()
