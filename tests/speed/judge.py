"""Judging 1,000 responses against a local server that takes 200 ms per call, over 32 connections.

    python tests/speed/judge.py

The ideal time is calls x latency / connections, with nothing else costing anything. The server is a process of its own.
"""

import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CALLS, LATENCY_S, CONNECTIONS, LIMIT = 1000, 0.2, 32, 1.10
SERVER = Path(__file__).resolve().parent.parent / "faulty_server.py"


class Rated:
    """The judged side of a benchmark."""

    def judge_sampling(self):
        from evalkit.sampling import Sampling

        return Sampling(max_new_tokens=512)

    def judge_prompt(self, item, response):
        return None

    def check_reply(self, reply: str) -> str | None:
        return None if "Rating:" in reply else "no rating"


def main(calls: int = CALLS) -> tuple[float, float]:
    """Measure, print, return (ideal seconds, measured seconds)."""
    from evalkit.engines.openai import OpenAIEngine
    from evalkit.files.cache import Cache
    from evalkit.harness.judge import Judge, JudgeRequest
    from evalkit.runs.records import Journal
    from evalkit.schema import Prompt

    text = "Rate the following answer of an assistant from 0 to 6. " * 60  # about the length of a judge's prompt
    requests = [JudgeRequest(f"{n}", 0, Prompt(f"{n}#0", f"{text}\nAnswer {n}.")) for n in range(calls)]
    command = [sys.executable, str(SERVER), "--latency", str(LATENCY_S), "--seconds", "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            engine = OpenAIEngine("judge", server.stdout.readline().strip(), "key", connections=CONNECTIONS)
            with tempfile.TemporaryDirectory() as name, Cache(Path(name) / "cache.sqlite") as cache:
                journal = Journal(Path(name) / "verdicts.jsonl")
                begin = time.perf_counter()
                rows = Judge(engine, cache=cache).rule(requests, Rated(), journal)
                seconds = time.perf_counter() - begin
                journal.close()
            engine.close()
        finally:
            server.kill()
    if len(rows) != calls or any("reply" not in row for row in rows.values()):
        raise SystemExit("a verdict is missing")
    ideal = math.ceil(calls / CONNECTIONS) * LATENCY_S
    print(f"{'':<48}{'ideal, s':>10}{'ours, s':>10}{'ratio':>8}")
    name = f"{calls:,} calls of {LATENCY_S * 1000:.0f} ms over {CONNECTIONS} connections"
    print(f"{name:<48}{ideal:>10.2f}{seconds:>10.2f}{seconds / ideal:>8.3f}")
    print(f"limit: {LIMIT:.2f}; bound: 1, every connection busy all the time")
    return ideal, seconds


if __name__ == "__main__":
    sys.path.insert(0, str(SERVER.parent.parent))
    main()
