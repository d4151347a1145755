"""Checksums of a run: of every journal line, and of the set of files that belong together.

A journal line ends in its own checksum, so that a letter that flipped on a disk or in a copy is found where it is:

    {"id": "7", "sample": 0, "text": "A dog.", "sum": "5f0c1a..."}

`metrics.json` is written last and names what it was computed from, so that halves of two runs, or what a kill left half
written, are never shown as one:

    "made_from": {"run.json": "...", "records.jsonl": "..."}

It ends in a checksum of itself, as front.json does: a figure in it that was changed afterwards is found too.

Runs of 0.1.0 have neither; they are read, and only what can be compared without checksums is.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from evalkit.schema import Json

SUM = "sum"  # key of a line's checksum, always its last one
DIGITS = 16  # hex digits: 64 bits
MADE_FROM = "made_from"
_SEAL = re.compile(rb', "sum": "([0-9a-f]{16})"\}')
_SEALED = 28  # characters of a seal
_LIKE_A_SEAL = re.compile(rb'"[0-9a-f]{16}"\}$')
NOT_IDENTITY = ("versions", "device", "batch_size", "shared_prefixes")  # of a model's description: answers are the same
NAMES_ONLY = (
    "label",
    "origin",
    "prompt_tokens",
    "remarks",
    MADE_FROM,
)  # fields of a manifest that no number depends on


_encode = msgspec.json.Encoder().encode
_json = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode  # no row holds itself


class DamagedLineError(ValueError):
    """A line whose content does not fit its checksum."""


def sealed(row: Mapping[str, Json]) -> bytes:
    """A row as a line of a journal with its checksum, newline included.

    >>> sealed({"id": "7"})
    b'{"id": "7", "sum": "1f2ce0962b75ea07"}\\n'
    """
    data = _encoded({name: value for name, value in row.items() if name != SUM} if SUM in row else dict(row))
    comma = b", " if len(data) > 2 else b""
    return data[:-1] + comma + b'"sum": "' + digest(data).encode() + b'"}\n'


def unsealed(line: bytes) -> tuple[Any, bool]:
    """The JSON value of a line without its newline, and whether it has a checksum.

    Raises:
        DamagedLineError: if the content does not fit the checksum.
        ValueError: if the line is not JSON.
    """
    seal = _SEAL.fullmatch(line[-_SEALED:])
    if seal is not None:
        body = line[:-_SEALED] + b"}"
        if digest(body) != seal[1].decode():
            raise DamagedLineError("the line does not fit its checksum: it was changed after it was written")
        line = body
    elif _LIKE_A_SEAL.search(line):
        raise DamagedLineError("the line's checksum is damaged")
    return _decoded(line), seal is not None


def fits_seal(line: bytes) -> bool:
    """Whether a line without its newline ends in a checksum, and that fits."""
    seal = _SEAL.fullmatch(line[-_SEALED:])
    return seal is not None and digest(line[:-_SEALED] + b"}").encode() == seal[1]


def _encoded(row: Mapping[str, Json]) -> bytes:
    """A row as `json` writes it, in a third of the time; json also writes lone surrogates, and says what is no JSON."""
    try:
        return msgspec.json.format(_encode(row), indent=0)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _json(row).encode("utf-8", errors="surrogatepass")


def _decoded(line: bytes) -> Any:
    """The JSON of a line; msgspec is four times as fast, json also reads lone surrogates and says what is wrong."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return json.loads(line.decode("utf-8", errors="surrogatepass"))


def digest(data: bytes) -> str:
    """Checksum of bytes: the first 16 hex digits of their sha256."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def with_own_sum(value: Mapping[str, Json]) -> dict[str, Json]:
    """A JSON object with the checksum of its content as its last field."""
    return {**{name: part for name, part in value.items() if name != SUM}, SUM: _own_sum(value)}


def fits_own_sum(value: Mapping[str, Json]) -> bool:
    """Whether a JSON object is what it was when its checksum was made; without a checksum nothing speaks against it.

    >>> fits_own_sum(with_own_sum({"n": 3})), fits_own_sum({**with_own_sum({"n": 3}), "n": 4}), fits_own_sum({"n": 4})
    (True, False, True)
    """
    return SUM not in value or value[SUM] == _own_sum(value)


def _own_sum(value: Mapping[str, Json]) -> str:
    kept = {name: part for name, part in value.items() if name != SUM}
    return digest(json.dumps(kept, sort_keys=True, ensure_ascii=True).encode())


def manifest_digest(manifest: Mapping[str, Json]) -> str:
    """Checksum of the fields of a manifest that numbers depend on: a run may be renamed, moved, or made in shards.

    >>> whole = {"model": {"model": "m", "batch_size": 16}, "prompt_tokens": {"given": 9, "spared": 4}}
    >>> manifest_digest(whole) == manifest_digest({"model": {"model": "m", "batch_size": 8}})
    True
    >>> manifest_digest(whole) == manifest_digest({"model": {"model": "other", "batch_size": 16}})
    False
    """
    kept = {name: value for name, value in manifest.items() if name not in NAMES_ONLY}
    if isinstance(model := kept.get("model"), Mapping):
        kept["model"] = {name: value for name, value in model.items() if name not in NOT_IDENTITY}
    return digest(json.dumps(kept, sort_keys=True, ensure_ascii=True).encode())
