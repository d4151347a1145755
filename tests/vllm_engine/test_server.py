"""A real `vllm serve` on loopback through the OpenAI engine: the same responses, a kill in the middle survived."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toy import ToyBenchmark

from evalkit.engines.openai import OpenAIEngine
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError
from evalkit.harness import stages as harness
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt

GREEDY = Sampling(max_new_tokens=16)
START_S = 540  # several processes import torch on few cores


class PictureWords(ToyBenchmark):
    """The toy benchmark on images."""

    def __init__(self, prompts: list[Prompt]) -> None:
        super().__init__(len(prompts))
        self.prompts = {prompt.id: prompt for prompt in prompts}

    def items(self) -> list[Item]:
        return [Item(p.id, p.text, p.images[0], {"words": ["a", "the", "is"]}) for p in self.prompts.values()]

    def prompt(self, item: Item) -> Prompt:
        return self.prompts[item.id]


@contextmanager
def serving(checkpoint: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What `vllm serve` runs, in a process group of its own, killed at the end whatever happens.

    The command `vllm` itself asks for its version under the name `vllm`, which the CPU build does not have.
    """
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint)]
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--served-model-name": "tiny",
        "--dtype": "float32",
        "--max-model-len": "512",
        "--max-num-seqs": "16",
        "--mm-processor-kwargs": '{"backend": "pil"}',
        "--generation-config": "vllm",
    }
    words = [word for option in options.items() for word in option]
    with log.open("ab") as out:
        server = subprocess.Popen([*command, *words, "--enforce-eager"], stdout=out, stderr=out, start_new_session=True)
    try:
        until = time.monotonic() + START_S
        while not _healthy(port):
            if server.poll() is not None or time.monotonic() > until:
                pytest.fail(f"vllm serve did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
        yield server
    finally:
        kill(server)


def kill(server: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    server.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def readable(text: str | None) -> str:
    """A server decodes token by token: bytes that are not characters yet may be left out."""
    return (text or "").replace("\ufffd", "").strip()


def test_a_served_run_survives_a_killed_server(llava: Path, prompts: list[Prompt], tmp_path: Path) -> None:
    benchmark, port, log = PictureWords(prompts[:40]), free_port(), tmp_path / "server.log"
    reference = TransformersEngine(llava)
    placeholders = {str(token): -100 for token in reference.encoder.placeholder_ids}

    def engine() -> OpenAIEngine:
        url = f"http://127.0.0.1:{port}/v1"
        return OpenAIEngine("tiny", url, "none", connections=4, attempts=2, extra={"logit_bias": placeholders})

    work = harness.plan(benchmark, GREEDY)
    with serving(llava, port, log) as server:

        def kill_in_the_middle(what: str, done: int, total: int) -> None:
            if done == 15:
                kill(server)

        with pytest.raises(EngineError, match="rerun the same command to resume"):
            harness.generate(work, engine(), tmp_path / "run", progress=kill_in_the_middle)
    before = (tmp_path / "run" / "responses.jsonl").read_text()
    assert sum("text" in json.loads(line) for line in before.splitlines()) >= 15

    with serving(llava, port, log):
        harness.generate(work, engine(), tmp_path / "run")
    harness.score(work, tmp_path / "run")
    assert (tmp_path / "run" / "responses.jsonl").read_text().startswith(before)
    rows = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    served = {row["id"]: readable(row["response"]["text"]) for row in rows}
    assert served == {r.prompt_id: readable(r.text) for r in reference.generate(prompts[:40], GREEDY)}
