"""One malformed input, and ways to spoil a file.

A case spoils files of the folder that `malformed_world` builds (the working directory), runs one command, and expects
one error line that holds all texts of `says`. Exit code 3 unless the case says otherwise.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.runs.checksums import MADE_FROM, sealed, unsealed

Spoil = Callable[[], Any]

CHAIR = "score chair --responses captions.jsonl --world world"
POPE = "score pope --responses pope.jsonl --world world"
AMBER = "score amber --responses amber.json --world world"
MMHAL = "score mmhal --responses mmhal.jsonl --world world --judge rules"
OBJECTS = "score object_halbench --responses objects.jsonl --world world --judge rules"
REPLAY = "run --engine replay --model captions.jsonl --tasks chair --world world"
SERVED = "run --engine openai --model m --tasks chair --world world"
NOWHERE = "--base-url http://127.0.0.1:1/v1 --engine-args attempts=1"
RESCORE = "score runs/captions/chair --world world"

USAGE, FAILED_SAMPLES, ABORTED = 1, 2, 3


@dataclass(frozen=True)
class Case:
    """One malformed input."""

    name: str
    command: str
    says: tuple[str, ...]
    spoil: Spoil = lambda: None
    code: int = ABORTED


# --- ways to spoil a file ---------------------------------------------------------------------------------------------


def put(path: str, content: str | bytes) -> Spoil:
    """Replace a file."""
    data = content.encode() if isinstance(content, str) else content

    def spoil() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)

    return spoil


def line(path: str, number: int, text: str) -> Spoil:
    """Replace the number-th line (from 1)."""

    def spoil() -> None:
        lines = Path(path).read_text().split("\n")
        lines[number - 1] = text
        Path(path).write_text("\n".join(lines))

    return spoil


def row(path: str, number: int, **fields: Any) -> Spoil:
    """Change fields of the number-th JSON line; `...` removes one."""

    def spoil() -> None:
        lines = Path(path).read_text().split("\n")
        lines[number - 1] = json.dumps(_changed(json.loads(lines[number - 1]), fields))
        Path(path).write_text("\n".join(lines))

    return spoil


def written(path: str, number: int, text: str) -> Spoil:
    """Replace the number-th line of a journal by a JSON object with its checksum, as a faulty writer would."""
    return line(path, number, sealed(json.loads(text)).decode().rstrip("\n"))


def without_checksums(run: str) -> Spoil:
    """Turn a run into one as 0.1.0 wrote it, whose content alone tells whether it is right."""

    def spoil() -> None:
        for journal in Path(run).glob("*.jsonl"):
            rows = [unsealed(text)[0] for text in journal.read_bytes().splitlines()]
            journal.write_text("".join(json.dumps(found) + "\n" for found in rows))
        for name in ("run.json", "metrics.json"):
            entry(f"{run}/{name}", None, **{MADE_FROM: ...})()

    return spoil


def entry(path: str, key: str | int | None, number: int | None = None, **fields: Any) -> Spoil:
    """Change fields of a JSON file's value, of the value under a key, or of the number-th entry of the list there."""

    def spoil() -> None:
        content = json.loads(Path(path).read_text())
        target = content if key is None else content[key]
        target = target if number is None else target[number]
        _changed(target, fields)
        Path(path).write_text(json.dumps(content))

    return spoil


def _changed(target: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if value is ...:
            del target[name]
        else:
            target[name] = value
    return target


def cut(path: str, share: float = 0.5) -> Spoil:
    """Keep the first part of a file only."""

    def spoil() -> None:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: int(len(data) * share)])

    return spoil


def doubled(path: str, number: int) -> Spoil:
    """Append a copy of the number-th line."""

    def spoil() -> None:
        text = Path(path).read_text()
        Path(path).write_text(text + text.split("\n")[number - 1] + "\n")

    return spoil


def encoded(path: str, encoding: str, extra: str = "") -> Spoil:
    """Write a text file in another encoding."""
    return lambda: Path(path).write_bytes((Path(path).read_text() + extra).encode(encoding))


def gone(path: str) -> Spoil:
    """Remove a file."""
    return lambda: Path(path).unlink()


def folder(path: str) -> Spoil:
    """A folder in the place of a file."""

    def spoil() -> None:
        Path(path).unlink(missing_ok=True)
        Path(path).mkdir(parents=True)

    return spoil


def link(path: str, target: str) -> Spoil:
    """A symbolic link in the place of a file."""

    def spoil() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).unlink(missing_ok=True)
        os.symlink(target, path)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """Several of them."""
    return lambda: [spoil() for spoil in spoils]


def bomb_png(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that claims to have so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def zipped(**members: str) -> bytes:
    """A zip archive; "__" in a name stands for a slash, "_json" at its end for the suffix."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), text)
    return buffer.getvalue()


def zip_bomb() -> bytes:
    """A small archive whose one member claims 5 GB (local and central sizes are patched)."""
    data = bytearray(zipped(samples__1_json="{}"))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(data) * 1


DEEP = "[" * 100_000
DIGITS = "9" * 5000
IMAGE = "world/images/COCO_mini_000000000002.png"
INSTANCES = "world/annotations/instances_mini.json"
HUMAN = "world/annotations/captions_mini.json"
RANDOM = "world/pope/coco_pope_random.json"
TEMPLATE = "world/mmhal/mmhal-bench_answer_template.json"
LINES = "world/object_halbench/obj_halbench_with_image.jsonl"
MANIFEST = "runs/captions/chair/run.json"
RESPONSES = "runs/captions/chair/responses.jsonl"
RECORDS = "runs/captions/chair/records.jsonl"
VERDICTS = "runs/mmhal/mmhal/verdicts.jsonl"
