"""Engines of a round's roles: opened when needed, one at a time, none while the policy trains."""

import argparse
import asyncio
import re
import time

import pytest
from faulty_server import FaultyServer
from rlaif_world import SPLITTER, run, write_world

from aligners import rlaif
from aligners.cli.role_commands import add_role_arguments, engines_of
from aligners.feedback.candidates import Candidate
from aligners.feedback.labeling import ImageQuestion, judge_questions
from aligners.feedback.roles import FEW, OnDemand, each_choice, rest
from aligners.feedback.splitting import ModelSplitter
from aligners.training.checkpoint import read_card
from evalkit.engines.base import Choices
from evalkit.engines.openai import OpenAIEngine
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import UsageError
from evalkit.schema import Prompt


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


class WaitingServer(FaultyServer):
    """Answers a request once a later one has come; notes when none does: the client sends nothing while it waits."""

    patience_s = 15.0

    def __init__(self, total, **options):
        super().__init__(**options)
        self.total, self.came, self.dry = total, 0, []

    async def _reply(self, writer, head, body):
        self.came += 1
        own, until = self.came, time.monotonic() + self.patience_s
        while own == self.came < self.total and time.monotonic() < until:
            await asyncio.sleep(0.002)
        if own == self.came < self.total:
            self.dry.append(own)
        return await super()._reply(writer, head, body)

    def completion(self, body, text, model):
        content = [{"top_logprobs": [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.4}]}]
        reply = super().completion(body, text, model)
        reply["choices"][0]["logprobs"] = {"content": content}
        return reply


def numbered(text):
    """A splitter model's reply: two claims, or their questions."""
    run = re.search(r"A dog runs (\d+)", text)
    return f"- Dog {run[1]} is there.\n- A cat is there." if run else "- Is a dog there?\n- Is a cat there?"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_labelers_queue_never_runs_dry(wrapped):
    questions = [ImageQuestion(f"q{i}", "p", None, f"Is there a dog number {i}?") for i in range(80)]
    with WaitingServer(len(questions)) as server:
        engine = OpenAIEngine("labeler", server.url, key="k", connections=4)
        labeler = OnDemand(lambda: engine) if wrapped else engine
        rows = list(judge_questions(labeler, questions, lambda one, text: Prompt(one.id, text)))
        engine.close()
    assert sorted(row["id"] for row in rows) == sorted(one.id for one in questions)
    assert server.busiest > 1
    assert server.dry == []


def test_a_splitters_queue_does_not_run_dry_between_its_portions(monkeypatch):
    monkeypatch.setattr("aligners.feedback.splitting.RESPONSES_IN_QUEUE", 8)
    candidates = [Candidate(f"c{i}", f"p{i}", None, "What is there?", f"A dog runs {i}.", 0) for i in range(64)]
    with WaitingServer(2 * len(candidates), answer=numbered) as server:
        engine = OpenAIEngine("splitter", server.url, key="k", connections=4)
        divided = list(ModelSplitter(engine).split(candidates))
        engine.close()
    assert sorted(one.candidate_id for one in divided) == sorted(one.id for one in candidates)
    assert server.received == 2 * len(candidates)
    assert all(at >= server.total - 8 for at in server.dry), server.dry  # between the halves of the last portion


def test_an_engine_without_a_queue_gets_a_few_batches_at_a_time():
    sizes = []

    class Batches(Counted):
        def choices(self, prompts, groups):
            sizes.append(len(prompts))
            return [Choices((0.5, 0.5), prompt.text) for prompt in prompts]

    prompts = [Prompt(str(i), f"{i}?") for i in range(FEW + 3)]
    answers = dict(each_choice(OnDemand(Batches), prompts, [["yes"], ["no"]]))
    assert sizes == [FEW, 3]
    assert [answers[i].argmax for i in range(FEW + 3)] == [prompt.text for prompt in prompts]


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
