"""A run that shares prefixes, is killed and goes on in other batches ends in the records of one that does not share."""

import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from aligners.miniature.base import cached_base
from evalkit.miniature.drawing import render
from evalkit.miniature.scenes import scenes_of
from evalkit.runs.records import read_manifest
from tests.endurance.sharing_run import OBJECTS, main

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 16


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index, scene in enumerate(islice(scenes_of("test", 5), IMAGES)):
        render(scene).save(folder / f"{index:02}.png")
    return folder


@pytest.mark.timeout(1800)
def test_killed_runs_with_other_batch_sizes_end_in_the_records_of_unshared_prompts(
    images: Path, tmp_path: Path
) -> None:
    base = str(cached_base(0))
    main(base, str(images), str(tmp_path / "whole"), "16", "off")
    killed, responses = tmp_path / "killed", tmp_path / "killed" / "responses.jsonl"
    for batch in ("3", "5"):  # groups of seven prompts are cut by every batch
        before = lines_of(responses)
        command = [sys.executable, "-m", "tests.endurance.sharing_run", base, str(images), str(killed), batch, "on"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 300
        while process.poll() is None and lines_of(responses) < before + 2 * int(batch):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, stderr.decode()
    assert before < lines_of(responses) < IMAGES * (len(OBJECTS) + 1)
    main(base, str(images), str(killed), "8", "on")
    for name in ("records.jsonl", "metrics.json"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert read_manifest(killed)["model"]["shared_prefixes"] == "on"
    assert read_manifest(killed)["prompt_tokens"]["spared"] > 0


def lines_of(path: Path) -> int:
    """Finished lines of a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
