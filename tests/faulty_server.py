"""A loopback OpenAI-compatible server for tests that can break in every way a real one does, on a seeded plan.

    with FaultyServer(faults=0.3, seed=1) as server:
        engine = OpenAIEngine("judge", server.url, key="test-key")

Answers are a function of the prompt. A fault is a function of (seed, prompt, how often it was asked), so a test can
work out beforehand what must happen. The server ends by itself after `seconds` or `most_calls`.
As a program (`python faulty_server.py --latency 0.2`) it prints its URL and serves until it is killed or times out.
"""

import argparse
import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FAULTS = ("429", "500", "cut", "timeout", "html", "torn", "other model")
Answer = Callable[[str], str]


def rating(text: str) -> str:
    """The default answer: a rating that follows from the prompt."""
    return f"Some analysis.\nRating: {hashlib.sha256(text.encode()).digest()[0] % 7}"


def prompt_text(body: dict[str, Any]) -> str:
    """All text of a request's messages."""
    parts = []
    for message in body["messages"]:
        content = message["content"]
        parts += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return "\n".join(parts)


@dataclass
class FaultyServer:
    """The server and what it has seen: `received` in all, `calls` and `answered` per prompt text, and requests."""

    faults: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = FAULTS
    latency_s: float = 0.0
    hang_s: float = 2.0
    retry_after: str = "0"
    answer: Answer = rating
    status: int | None = None
    status_body: str = "{}"
    seconds: float = 120.0
    most_calls: int = 20_000
    keep: int = 50
    calls: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    received: int = 0
    busiest: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._active = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def fault(self, text: str, call: int) -> str | None:
        """What goes wrong with the call-th request (from 1) for this prompt."""
        digest = hashlib.sha256(f"{self.seed} {call} {text}".encode()).digest()
        if int.from_bytes(digest[:4], "big") >= self.faults * 2**32:
            return None
        return self.kinds[digest[4] % len(self.kinds)]

    def __enter__(self) -> "FaultyServer":
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    async def serve(self) -> None:
        """Serve until stopped, out of time, or out of calls."""
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            async with asyncio.timeout(self.seconds):
                await self._stop.wait()
        except TimeoutError:
            pass
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await self._head(reader):
                body = await reader.readexactly(int(head.get("content-length", 0)))
                self._active += 1
                self.busiest = max(self.busiest, self._active)
                try:
                    goes_on = await self._reply(writer, head, json.loads(body))
                finally:
                    self._active -= 1
                if not goes_on:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> dict[str, str]:
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return {}
        lines = text.split("\r\n")
        pairs = [line.split(": ", 1) for line in lines[1:] if ": " in line]
        return {"": lines[0]} | {name.lower(): value for name, value in pairs}

    async def _reply(self, writer: asyncio.StreamWriter, head: dict[str, str], body: dict[str, Any]) -> bool:
        text = prompt_text(body)
        self.calls[text] += 1
        self.received += 1
        if self.received > self.most_calls:
            self._stop.set()
            return False
        if len(self.bodies) < self.keep:
            self.bodies.append(body)
            self.headers.append(head)
        fault = self.fault(text, self.calls[text])
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.status is not None:
            return await _send(writer, self.status, self.status_body)
        if fault == "429":
            return await _send(writer, 429, '{"error": {"message": "slow down"}}', {"Retry-After": self.retry_after})
        if fault == "500":
            return await _send(writer, 500, "worker died")
        if fault == "cut":
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"cho')
            await writer.drain()
            return False
        if fault == "timeout":
            await asyncio.sleep(self.hang_s)
            return False
        if fault == "html":
            return await _send(writer, 200, "<html><body>Bad gateway</body></html>", kind="text/html")
        reply = json.dumps(self.completion(body, text, "another-model" if fault == "other model" else body["model"]))
        if fault == "torn":
            return await _send(writer, 200, reply[: len(reply) // 2])
        self.answered[text] += 1
        return await _send(writer, 200, reply)

    def completion(self, body: dict[str, Any], text: str, model: str) -> dict[str, Any]:
        """A chat completion."""
        answer = self.answer(text)
        message = {"role": "assistant", "content": answer}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(text) // 4, "completion_tokens": 9, "total_tokens": len(text) // 4 + 9},
        }


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: str,
    more: dict[str, str] | None = None,
    kind: str = "application/json",
) -> bool:
    data = body.encode()
    head = {"Content-Type": kind, "Content-Length": str(len(data))} | (more or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data)
    await writer.drain()
    return True


def main() -> None:
    """Serve as a program: print the URL, then answer."""
    options = argparse.ArgumentParser()
    options.add_argument("--latency", type=float, default=0.0)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--faults", type=float, default=0.0)
    options.add_argument("--port", type=int, default=0)
    chosen = options.parse_args()

    async def announce(server: FaultyServer) -> None:
        serving = asyncio.create_task(server.serve())
        while not server.port or not server._ready.is_set():
            await asyncio.sleep(0.01)
        print(server.url, flush=True)
        await serving

    server = FaultyServer(faults=chosen.faults, latency_s=chosen.latency, seconds=chosen.seconds, port=chosen.port)
    asyncio.run(announce(server))


if __name__ == "__main__":
    main()
