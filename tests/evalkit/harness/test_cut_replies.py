"""A judge's reply that did not end by itself holds no verdict; neither do its thoughts."""

import pytest

from evalkit.engines.replay import ScriptedEngine
from evalkit.engines.texts import TextEngine
from evalkit.harness.judge import Judge, JudgeRequest
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response


class Replies(TextEngine):
    """Says the next of its (text, finish) each time it is asked."""

    name = "replies"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), 0

    def describe(self):
        return {"engine": "replies", "model": "m"}

    def generate(self, prompts, sampling):
        for prompt in prompts:
            text, finish = self.replies[min(self.asked, len(self.replies) - 1)]
            self.asked += 1
            self.limit = sampling.max_new_tokens
            yield Response(prompt.id, text, finish=finish)


def check(reply):
    return None if "rating: " in reply else "no rating"


def rule(engine, **options):
    judge = Judge(engine, **options)
    request = JudgeRequest("1", 0, Prompt("1", "Rate it."))
    (verdict,) = judge.verdicts([request], judge.sampling(Sampling(max_new_tokens=8)), check)
    return verdict


@pytest.mark.parametrize("finish", ["length", "max_tokens", "content_filter", "MAX_TOKENS", "abort"])
def test_a_cut_reply_is_asked_again_and_then_failed_with_the_finish_named(finish):
    engine = Replies(("rating: 5 would need more detail, and", finish))
    verdict = rule(engine, retries=2)
    assert engine.asked == 3
    assert verdict.reply is None
    assert f"finish: {finish}" in verdict.failure


@pytest.mark.parametrize("finish", ["stop", "eos_token", "end_turn", "STOP", None])
def test_a_reply_that_ended_is_read_as_it_is(finish):
    engine = Replies(("rating: 5", finish))
    assert (rule(engine).reply, engine.asked) == ("rating: 5", 1)


def test_a_cut_reply_is_followed_by_a_whole_one():
    engine = Replies(("rating: 5 would", "length"), ("rating: 2", "stop"))
    assert rule(engine).reply == "rating: 2"


def test_thoughts_of_a_judge_are_not_its_verdict():
    verdict = rule(Replies(("<think>rating: 1? no</think>rating: 4", "stop")))
    assert verdict.reply == "rating: 4"
    assert verdict.attempts[0].raw == "<think>rating: 1? no</think>rating: 4"
    unfinished = rule(Replies(("<think>rating: 1? no", "stop")), retries=0)
    assert "unfinished thought" in unfinished.failure


def test_the_limit_of_a_reply_can_be_set():
    engine = Replies(("rating: 5", "stop"))
    rule(engine, max_new_tokens=4000)
    assert engine.limit == 4000
    assert Judge(engine, max_new_tokens=4000).describe()["max_new_tokens"] == 4000
    assert "max_new_tokens" not in Judge(ScriptedEngine(lambda *_: "")).describe()
