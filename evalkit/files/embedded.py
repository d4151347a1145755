"""Images that stand inside a data file: bytes in a Parquet table, base64 text in JSON lines, data URLs.

They are written out once, as files, under a name that is given or follows from their content.
"""

import base64
import binascii
import hashlib
import io
import re
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.atomic import replaced
from evalkit.images import ImageFile, opened

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "MPO": ".jpg"}
_DATA_URL = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


def embedded_bytes(value: object, where: str) -> bytes | None:
    """The bytes of an image that a row holds: bytes, base64 text, a data URL, or {"bytes": one of these}.

    Returns:
        None if the value holds no image: absent, or a text that is a path or an address.
    Raises:
        DataError: if it says to be base64 and is not, or is of another kind.
    """
    if isinstance(value, dict):
        inner = value.get("bytes")
        return None if inner is None else certain_bytes(inner, where)
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise DataError(f"{where} holds neither bytes nor a path: {type(value).__name__}")
    if prefix := _DATA_URL.match(value):
        return certain_bytes(value[prefix.end() :], where)
    if value[:5].lower() == "data:":
        raise DataError(f"{where}: expected a data URL like data:image/png;base64,..., found {value[:40]!r}")
    data = _base64(value)
    return data if data is not None and is_image(data) else None


def certain_bytes(value: object, where: str) -> bytes:
    """The bytes of an image from a field that holds nothing else.

    Raises:
        DataError: if they are neither bytes nor base64 text.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        prefix = _DATA_URL.match(value)
        data = _base64(value[prefix.end() :] if prefix else value)
        if data is not None:
            return data
        raise DataError(f"{where} is not base64: {value[:40]!r}")
    if isinstance(value, list) and value and all(type(part) is int and 0 <= part < 256 for part in value):
        return bytes(value)
    raise DataError(f"{where} must be bytes or base64 text, found {type(value).__name__}")


def _base64(text: str) -> bytes | None:
    """Decoded base64, with or without line breaks and padding, standard or URL alphabet; None if it is not."""
    compact = "".join(text.split()).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def is_image(data: bytes) -> bool:
    """Whether bytes begin like an image of a known format."""
    try:
        with opened(io.BytesIO(data), "") as image:
            return image.width > 0
    except DataError:
        return False


def store_embedded(data: bytes, folder: Path, where: str, name: str | None = None) -> ImageFile:
    """Write an embedded image into a folder as it is; one that is there with the same content stays.

    Args:
        where: file and row, for errors.
        name: of the file, without a suffix; None names it after its content.
    Raises:
        DataError: if it is not an image, or the folder cannot be written.
    """
    if name is not None and (not name or Path(name).name != name or "\x00" in name):
        raise DataError(f"{where}: {name[:60]!r} cannot be the name of an image file")
    try:
        with opened(io.BytesIO(data), where) as image:
            suffix = SUFFIXES.get(image.format or "", f".{(image.format or 'img').lower()}")
    except DataError as error:
        raise DataError(f"{where} is not an image ({len(data)} bytes)") from error
    file_name = (name or hashlib.sha256(data).hexdigest()[:24]) + suffix
    path = folder / file_name
    try:
        if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
            with replaced(path, shared=True) as beside:
                beside.write_bytes(data)
    except OSError as error:
        raise DataError(f"images cannot be written to {folder}: {error}; name another folder") from error
    return ImageFile(folder, file_name)
