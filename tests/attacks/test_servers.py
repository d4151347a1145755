"""Servers that answer what no server should: the run fails in a line, pays what it sent, and tells nobody else."""

import json
import sqlite3
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from evalkit.engines.served.transport import LARGEST_REPLY
from evalkit.runs.records import VERDICTS
from tests.attacks.attacked import KEY, QUESTIONS, Answer, completion, judged, program, serving

LARGEST_MB = 600  # of memory for a reply


def bomb(megabytes: int) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(press.compress(bytes(1 << 20)) for _ in range(megabytes)) + press.flush()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("packed", [True, False])
def test_a_reply_of_hundreds_of_megabytes_costs_its_limit(folder: Path, packed: bool) -> None:
    body = bomb(400) if packed else b" " * (2 * LARGEST_REPLY)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    with serving(lambda _: Answer(body, headers=headers)) as server:
        words = [str(word) for word in [*judged(folder, server.url), "--budget", "calls:1"]]
        code = (
            "import re, sys; from evalkit.__main__ import main; code = main(sys.argv[1:]); "
            "status = open('/proc/self/status').read(); "  # ru_maxrss would count the process that started this one
            "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) // 1024); sys.exit(code)"
        )
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode not in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stdout.splitlines()[-1]) < LARGEST_MB


@pytest.mark.parametrize("tokens", [10**400, -5, 10**15])
def test_tokens_beyond_belief_are_not_believed(folder: Path, tokens: int) -> None:
    with serving(lambda _: Answer(completion(prompt_tokens=tokens, completion_tokens=tokens))) as server:
        done = program(*judged(folder, server.url), "--budget", "usd:5", "--price", "1,1")
    assert done.code in (0, 3), done.err
    assert len(server.paths) <= QUESTIONS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_is_not_followed(folder: Path, status: int) -> None:
    with serving(lambda _: Answer(completion())) as other:
        target = f"http://localhost:{other.port}/v1/chat/completions"
        with serving(lambda _: Answer(b"", status, {"Location": target})) as server:
            done = program(*judged(folder, server.url))
    assert server.paths
    assert other.paths == []
    assert done.code != 0
    assert "redirected to http://localhost" in done.err


def test_a_query_of_an_address_stays_behind_its_path(folder: Path) -> None:
    with serving(lambda _: Answer(completion())) as server:
        done = program(*judged(folder, server.url + "?api-version=7"))
    assert done.code == 0, done.err
    assert set(server.paths) == {"/v1/chat/completions?api-version=7"}


def test_a_key_that_a_server_echoes_is_in_no_file_and_no_line(folder: Path) -> None:
    echo = completion(f"Rating: 3, {KEY}, {json.dumps(KEY)}")
    for number, answer in enumerate((Answer(echo), Answer(KEY.encode(), 400), Answer(KEY.encode(), 500))):
        with serving(lambda _, given=answer: given) as server:
            done = program(*judged(folder, server.url), "--output-path", folder / f"runs{number}")
        assert server.keys[0] == f"Bearer {KEY}"
        assert KEY not in done.out + done.err
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == VERDICTS for path in written)
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    "value", ["[]", "{}", "[5]", "[{}]", '[{"raw": 5, "model": null, "error": null}]', "[" * 10**5]
)
def test_a_cache_with_values_of_another_shape_is_asked_again_or_named(folder: Path, value: str) -> None:
    with serving(lambda _: Answer(completion())) as server:
        words = judged(folder, server.url)
        assert program(*words).code == 0
        base = sqlite3.connect(folder / "cache" / "judge.sqlite")
        base.execute("UPDATE answers SET value = ?", (value,))
        base.commit()
        base.close()
        done = program(*words, "--output-path", folder / "again")
    assert "None" not in done.err
    assert done.code == 0 or "judge.sqlite" in done.err
    assert done.code != 0 or len(server.paths) == 2 * QUESTIONS


def test_a_second_program_that_finds_the_lock_removed_notices(folder: Path) -> None:
    def slowly(_: object) -> Answer:
        time.sleep(0.05)
        return Answer(completion())

    with serving(slowly) as server:
        words = [str(word) for word in judged(folder, server.url)]
        first = subprocess.Popen([sys.executable, "-m", "evalkit", *words], stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 90
        while len(server.paths) < 8 and first.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        (folder / "runs" / "m" / "mmhal" / ".lock").unlink(missing_ok=True)
        second = program(*words)
        first.communicate(timeout=300)
    assert first.returncode == 0
    assert second.code != 0
    assert "in use by another process" in second.err
    assert len(server.paths) == QUESTIONS
    assert (folder / "runs" / "m" / "mmhal" / VERDICTS).read_bytes().count(b"\n") == QUESTIONS
