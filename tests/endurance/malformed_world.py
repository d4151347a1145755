"""The folder in which malformed inputs are tried: a tiny world, responses made elsewhere, and earlier results.

world/           3 scenes in every official format
captions.jsonl   responses to CHAIR; second.jsonl other ones
pope.jsonl  amber.json  mmhal.jsonl  objects.jsonl   responses to the others
labels.jsonl     reference verdicts for the MMHal run
runs/            scored runs of all of these, by model: captions, second, pope, amber, mmhal, objects
shards/{1,2}/    the halves of one run
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evalkit.__main__ import main
from evalkit.miniature.files import write_world

SCENES = 3
CAPTIONS = ("A dog on a couch.", "There is a cat and a book.", "A bicycle next to a car.")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def build(folder: Path) -> Path:
    """Write everything; the commands run with `folder` as their working directory."""
    world = write_world(folder / "world", SCENES, seed=0)
    ids = json.loads((world / "image_ids.json").read_text())
    write_lines(folder / "captions.jsonl", [{"image_id": i, "caption": c} for i, c in zip(ids, CAPTIONS, strict=True)])
    write_lines(folder / "second.jsonl", [{"image_id": i, "caption": "A dog."} for i in ids])
    _polling(world, folder / "pope.jsonl")
    queries = json.loads((world / "amber" / "query" / "query_all.json").read_text())
    (folder / "amber.json").write_text(json.dumps([{"id": row["id"], "response": "Yes"} for row in queries]))
    write_lines(folder / "mmhal.jsonl", [{"id": str(number), "response": "A red cat."} for number in range(96)])
    write_lines(folder / "objects.jsonl", [{"image_id": i, "answer": CAPTIONS[0]} for i in ids])
    write_lines(folder / "labels.jsonl", [{"id": str(number), "rating": number % 7} for number in range(96)])
    for command in (
        "score chair --responses captions.jsonl --world world",
        "score chair --responses second.jsonl --world world",
        "score pope --responses pope.jsonl --world world",
        "score amber --responses amber.json --world world",
        "score mmhal --responses mmhal.jsonl --world world --judge rules",
        "score object_halbench --responses objects.jsonl --world world --judge rules",
        "run --engine replay --model captions.jsonl --tasks chair --world world --shard 1/2 --output-path shards/1",
        "run --engine replay --model captions.jsonl --tasks chair --world world --shard 2/2 --output-path shards/2",
    ):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            code = main(command.split())
        assert code == 0, f"{command}: {out.getvalue()}"
    return folder


def _polling(world: Path, path: Path) -> None:
    rows = []
    for split in ("random", "popular", "adversarial"):
        for line in (world / "pope" / f"coco_pope_{split}.json").read_text().splitlines():
            rows.append({"question_id": f"{split}/{json.loads(line)['question_id']}", "answer": "Yes, there is."})
    write_lines(path, rows)


def hashes(folder: Path) -> dict[str, str]:
    """Path below the folder -> hash of the file's bytes, lock files left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
