"""The tiny model and the data of the tests of fact-augmented RLHF."""

import pytest
from rlhf_world import write_rlhf_world
from tiny_models import save_tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_rlhf_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny("llava", tmp_path_factory.mktemp("tiny"))
