"""What the attacks need: a small world, scored runs in it, the program, a server that answers anything."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from evalkit.__main__ import main
from evalkit.miniature.files import write_world
from evalkit.runs.checksums import MADE_FROM, SUM
from evalkit.runs.records import MANIFEST, METRICS, RECORDS

KEY = "sk-attacked-0123456789abcdef"
TEXTS = ("A dog on a couch.", "There is a cat and a book.", "A bicycle next to a car.")
QUESTIONS = 96  # of MMHal-Bench
Change = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended; an error that is none of evalkit's own is raised instead."""

    code: int
    out: str
    err: str


def program(*words: object) -> Done:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def chair_run(folder: Path, label: str = "base", texts: Sequence[str] = TEXTS, scenes: int = 6) -> Path:
    """A scored CHAIR run of captions, below folder/runs; the world is made once."""
    world = folder / "world"
    if not world.exists():
        write_world(world, scenes, seed=1)
    ids = json.loads((world / "image_ids.json").read_text())
    rows = [{"image_id": name, "caption": texts[index % len(texts)]} for index, name in enumerate(ids)]
    given = write_lines(folder / f"{label}.jsonl", rows)
    arguments = ["--responses", given, "--world", world, "--label", label, "--output-path", folder / "runs"]
    done = program("score", "chair", *arguments)
    assert done.code == 0, done.err
    return folder / "runs" / label / "chair"


def mmhal(folder: Path) -> list[object]:
    """The words that score a file of MMHal-Bench's responses; what is to judge them is left to the caller."""
    if not (folder / "world").exists():
        write_world(folder / "world", 12, seed=1)
    rows = [{"id": str(number), "response": f"A red cat number {number}."} for number in range(QUESTIONS)]
    given = write_lines(folder / "mmhal.jsonl", rows)
    names = ["--world", folder / "world", "--label", "m", "--output-path", folder / "runs"]
    return ["score", "mmhal", "--responses", given, *names]


def judged(folder: Path, url: str) -> list[object]:
    """`mmhal` with a judge on a server that is asked once each."""
    patience = "attempts=1,backoff_s=0.01,timeout_s=20,connections=2"
    return [*mmhal(folder), "--judge", "j", "--judge-base-url", url, "--judge-args", patience]


def shards(folder: Path, task: str, responses: Path, *more: object) -> list[Path]:
    """Two shards of a replayed run."""
    made = []
    for part in (1, 2):
        out = folder / "shards" / str(part)
        where = ["--world", folder / "world", "--shard", f"{part}/2", "--output-path", out, "--label", "whole"]
        done = program("run", "--engine", "replay", "--model", responses, "--tasks", task, *where, *more)
        assert done.code == 0, done.err
        made.append(out / "whole" / task)
    return made


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    """Rows as JSON lines without checksums."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def change(path: Path, how: Change) -> None:
    """Change the JSON of a file in place, as somebody who made the file could."""
    value = json.loads(path.read_text())
    how(value)
    path.write_text(json.dumps(value))


def forge(run: Path, how: Change) -> None:
    """Change every record of a run and take all checksums off, as a run of 0.1.0 has none."""
    rows = [json.loads(line) for line in (run / RECORDS).read_text().splitlines()]
    for row in rows:
        row.pop(SUM, None)
        how(row)
    write_lines(run / RECORDS, rows)
    for name in (MANIFEST, METRICS):
        change(run / name, lambda value: [value.pop(key, None) for key in (MADE_FROM, SUM)])


def completion(text: str = "Fine.\nRating: 3", **usage: int) -> bytes:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    told = usage or {"prompt_tokens": 10, "completion_tokens": 5}
    return json.dumps({"id": "c", "model": "j", "choices": [choice], "usage": told}).encode()


@dataclass
class Answer:
    """What the server sends."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class RawServer:
    """A server on loopback and what it was asked."""

    url: str
    port: int
    paths: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def serving(answer: Callable[[RawServer], Answer]) -> Iterator[RawServer]:
    """A server that answers every request alike."""
    told = RawServer("", 0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            told.paths.append(self.path)
            told.keys.append(self.headers.get("authorization"))
            given = answer(told)
            self.send_response(given.status)
            for name, value in {"Content-Type": "application/json", **given.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may have had enough
                self.wfile.write(given.body)

        do_GET = do_POST  # noqa: N815 - a name of the standard library

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.port = server.server_address[1]
    told.url = f"http://127.0.0.1:{told.port}/v1"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
