"""Engines of a round's roles: opened when needed, one at a time, none while the policy trains."""

import argparse

import pytest
from rlaif_world import SPLITTER, run, write_world

from aligners import rlaif
from aligners.cli.role_commands import add_role_arguments, engines_of
from aligners.feedback.roles import FEW, MANY, OnDemand, at_once, rest
from aligners.feedback.splitting import ModelSplitter
from aligners.training.checkpoint import read_card
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import UsageError


class Counted:
    """An engine that notes how many of its kind are open."""

    open, most = 0, 0

    def __init__(self, kind="transformers"):
        self.kind, Counted.open = kind, Counted.open + 1
        Counted.most = max(Counted.most, Counted.open)

    def describe(self):
        return {"engine": self.kind, "model": "m"}

    def close(self):
        Counted.open -= 1


@pytest.fixture(autouse=True)
def nothing_is_open():
    Counted.open = Counted.most = 0


def test_an_engine_is_opened_at_its_first_use_and_again_after_a_rest():
    engine = OnDemand(Counted)
    assert Counted.open == 0
    assert engine.describe()["model"] == "m"
    assert Counted.open == 1
    rest(engine)
    assert Counted.open == 0
    assert engine.describe()["model"] == "m"  # remembered
    assert Counted.open == 0
    engine.get()
    assert Counted.open == 1


def test_a_splitter_lets_go_of_its_engine():
    splitter = ModelSplitter(OnDemand(Counted))
    assert splitter.describe()["model"] == {"engine": "transformers", "model": "m"}
    rest(splitter)
    assert Counted.open == 0
    rest(SPLITTER)  # holds nothing
    rest(None)


def test_an_engine_with_a_queue_is_given_many_requests_at_once():
    assert at_once(OnDemand(lambda: Counted("vllm"))) == MANY
    assert at_once(OnDemand(Counted)) == FEW


def test_one_model_is_held_at_a_time_and_none_while_the_policy_trains(tmp_path, monkeypatch):
    world = tmp_path / "world"
    write_world(world)

    class Held(TransformersEngine):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            Counted.open += 1
            Counted.most = max(Counted.most, Counted.open)

        def close(self):
            Counted.open -= 1
            super().close()

    training = []
    train = rlaif.train_dpo
    monkeypatch.setattr(rlaif, "train_dpo", lambda *a, **k: (training.append(Counted.open), train(*a, **k))[1])
    labeler = OnDemand(lambda: Held(world / "start"))
    run(world, tmp_path / "out", labeler=labeler, open_engine=Held)
    assert set(training) == {0}
    assert Counted.most == 1
    assert read_card(tmp_path / "out").preset == "rlaifv (claims by rules)"


def asked(*words):
    parser = argparse.ArgumentParser()
    add_role_arguments(parser)
    return engines_of(parser.parse_args(words))


def test_the_command_line_opens_nothing_before_it_is_needed():
    roles = asked("--labeler", "absent", "--splitter", "absent", "--splitter-engine", "vllm")
    assert isinstance(roles.labeler, OnDemand)
    assert isinstance(roles.splitter, ModelSplitter)
    assert asked().labeler is asked().splitter is None


def test_a_server_needs_the_engine_of_servers():
    roles = asked("--labeler", "m", "--labeler-url", "http://localhost:1/v1")
    with pytest.raises(UsageError, match="--labeler-url is for --labeler-engine openai"):
        roles.labeler.get()
    served = asked("--labeler", "m", "--labeler-engine", "openai", "--labeler-url", "http://localhost:1/v1").labeler
    assert served.describe() == {"engine": "openai", "model": "m"}
    served.close()
