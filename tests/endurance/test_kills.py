"""Killed at a hundred random moments of generate, judge and score, a run ends as an undisturbed one, and pays once."""

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mmhal.benchmark import MMHalBench
from benchmarks.object_halbench.benchmark import ObjectHalBench
from evalkit.miniature.files import write_world
from evalkit.runs.records import METRICS, RECORDS, RESPONSES, VERDICTS
from tests.endurance.killed_program import start_program
from tests.faulty_server import FaultyServer, prompt_text

KILLS, RUNS, CONNECTIONS, SCENES = 100, 4, 4, 12
TASKS = {"mmhal": MMHalBench, "object_halbench": ObjectHalBench}
Asked = tuple[str, int, str]  # model, seed, text of the prompt


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("kills") / "world", SCENES, seed=1)


class Program:
    """`evalkit run` of two judged benchmarks on a local server that is model and judge."""

    def __init__(self, folder: Path, world: Path, latency_s: float) -> None:
        self.runs, self.log, self.world = folder / "runs", folder / "log", world
        self.server = FaultyServer(latency_s=latency_s, answer=answer, keep=10**6, seconds=1500)
        self._environment = {
            "EVALKIT_CACHE": str(folder / "cache"),
            "EVALKIT_OFFLINE": "1",
            "OPENAI_API_KEY": "test-key",
            "JUDGE_API_KEY": "test-key",
        }
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> Any:
        url, own = self.server.url, f"connections={CONNECTIONS}"
        command = f"run --engine openai --model m --base-url {url} --engine-args {own} --tasks {','.join(TASKS)}"
        command += f" --judge j --judge-base-url {url} --judge-args {own} --world {self.world}"
        return start_program([*command.split(), "--output-path", str(self.runs)], self.log, self._environment)

    def finish(self) -> None:
        process = self.start()
        process.join(120)
        assert process.exitcode == 0, self.log.read_text()

    def asked(self) -> Counter[Asked]:
        """How often each request was received."""
        return Counter((body["model"], body["seed"], prompt_text(body).strip()) for body in tuple(self.server.bodies))

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.runs)): path.read_bytes() for path in sorted(self.runs.rglob("*.json*"))}

    def results(self) -> dict[str, bytes]:
        """The derived files and the manifests; journals hold the same lines in another order."""
        return {name: data for name, data in self.files().items() if not name.endswith((RESPONSES, VERDICTS))}

    def settled(self) -> set[Asked]:
        """Requests whose answer is in a journal."""
        done: set[Asked] = set()
        for name, cls in TASKS.items():
            benchmark = cls.miniature(self.world)
            texts = {item.id: benchmark.prompt(item).text for item in benchmark.items()}
            for row in journal_rows(self.runs / "m" / name / RESPONSES):
                done.add(("m", benchmark.sampling.seed_for(row["id"], 0), texts[row["id"]]))
            judged = {(row["id"], row["sample"]) for row in journal_rows(self.runs / "m" / name / VERDICTS)}
            responses = {row["id"]: row["text"] for row in journal_rows(self.runs / "m" / name / RESPONSES)}
            keys = {row["id"]: row["key"] for row in journal_rows(self.runs / "m" / name / VERDICTS)}
            items = {item.id: item for item in benchmark.items()}
            for item_id, _ in judged:
                prompt = benchmark.judge_prompt(items[item_id], responses[item_id])
                assert prompt is not None
                seed = benchmark.judge_sampling().seed_for(keys[item_id], 0)
                done.add(("j", seed, (prompt.text or str(prompt.system)).strip()))
        return done


def answer(text: str) -> str:
    """One text that is a description, a list of objects and a rating."""
    return f'In the picture stands ["dog", "chair"] and more.\n\nRating: {len(text) % 7}'


def journal_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Complete lines."""
    if path.exists():
        yield from (json.loads(line) for line in path.read_bytes().split(b"\n")[:-1])


def check_complete(files: dict[str, bytes]) -> None:
    """Derived files are whole or absent."""
    for name, data in files.items():
        if name.endswith((RECORDS, METRICS, "run.json")):
            assert data.endswith(b"\n"), name
            for text in data.splitlines() if name.endswith(RECORDS) else [data]:
                json.loads(text)


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    program = Program(tmp_path_factory.mktemp("undisturbed"), world, latency_s=0.0)
    with program.server:
        program.finish()
    assert set(program.asked().values()) == {1}
    return program.results()


@pytest.mark.timeout(1500)  # seconds on a free machine, minutes on one that is busy
@pytest.mark.parametrize("seed", range(RUNS))
def test_killed_runs_end_as_undisturbed_ones_and_repeat_no_finished_request(
    seed: int, world: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    program = Program(tmp_path / "killed", world, latency_s=0.01)
    finished: dict[Asked, int] = {}  # how often a request had been received when its answer was found in a journal
    kills, stages = 0, Counter[str]()
    scoring_s: float | None = None  # how long a run takes that has nothing left to ask
    with program.server as server:
        while kills < KILLS // RUNS:
            before, started = server.received, time.monotonic()
            process = program.start()
            if scoring_s is None:
                first = before + rng.randint(1, 24)
                while process.is_alive() and server.received < first:
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.02))
            else:
                process.join(rng.uniform(0, scoring_s))
            process.kill()
            process.join(60)
            if process.exitcode != -9:
                assert process.exitcode == 0, program.log.read_text()
                scoring_s = time.monotonic() - started
                continue
            kills += 1
            stages[program_stage(program)] += 1
            check_complete(program.files())
            received = program.asked()
            finished |= {request: received[request] for request in program.settled() - finished.keys()}
        program.finish()
    assert program.results() == undisturbed
    asked = program.asked()
    assert {request: asked[request] for request in finished} == finished
    assert asked.total() - len(asked) <= kills * CONNECTIONS
    assert program.settled() == set(asked)
    assert {RESPONSES, VERDICTS} <= set(stages), stages
    shutil.rmtree(program.runs)


def program_stage(program: Program) -> str:
    """How far a killed run has come."""
    names = {Path(name).name for name in program.files()}
    return next((name for name in (METRICS, RECORDS, VERDICTS, RESPONSES) if name in names), "nothing")
