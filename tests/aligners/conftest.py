"""Property tests here run tensors: fewer examples, no deadline (the first call of an operation is slow).

Fixtures: a small run of online feedback (see rlaif_world), once for all tests that look at it or compare with it; being
the second of two processes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from rlaif_world import run, write_world

from aligners.rlaif import RlaifResult

settings.register_profile("aligners", deadline=None, max_examples=40)
settings.load_profile("aligners")


@pytest.fixture(scope="session")
def feedback_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a start checkpoint and prompts; not to be written to."""
    folder = tmp_path_factory.mktemp("feedback_world")
    write_world(folder)
    return folder


@pytest.fixture(scope="session")
def feedback_run(feedback_world: Path, tmp_path_factory: pytest.TempPathFactory) -> RlaifResult:
    """The whole run by one command; not to be written to."""
    return run(feedback_world, tmp_path_factory.mktemp("feedback_run"))


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes this process the second of two; called with what the first one works out for both."""

    def begin(outcome: Any) -> None:
        def broadcast(box: list[Any], src: int) -> None:
            assert src == 0
            box[0] = (outcome, None)

        for name, value in (("is_initialized", True), ("get_world_size", 2), ("get_rank", 1)):
            monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
        monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)

    return begin
