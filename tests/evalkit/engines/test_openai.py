"""The OpenAI-compatible engine against a loopback server that answers, and one that breaks."""

import base64
import io
import json
import logging
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from faulty_server import FAULTS, FaultyServer
from PIL import Image

from evalkit.engines.openai import OpenAIEngine
from evalkit.engines.served.chat import chat_messages, read_reply
from evalkit.engines.served.endpoints import api_key, base_urls, normalise_url
from evalkit.engines.served.faults import EMPTY_ATTEMPTS
from evalkit.engines.served.fleet import Fleet, Server, backoff, retry_after
from evalkit.errors import EngineError, UsageError
from evalkit.harness.stages import evaluate
from evalkit.images import ImageFile
from evalkit.process.progress import ProgressBar
from evalkit.runs.records import read_manifest
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Turn
from tests.toy import ToyBenchmark

KEY = "sk-very-secret-0123456789"
PROMPTS = [Prompt(f"p{number}", f"question {number}") for number in range(40)]


def engine_for(server: FaultyServer, **options: Any) -> OpenAIEngine:
    settings = {"timeout_s": 0.5, "backoff_s": 0.005, "connections": 8} | options
    return OpenAIEngine("tiny", server.url, KEY, **settings)


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        ("https://host/v1/chat/completions/", "https://host/v1"),
    ],
)
def test_an_address_may_end_in_chat_completions(address, base):
    assert normalise_url(address) == base


@pytest.mark.parametrize("address", ["", "localhost:8000", "ftp://host/v1", "http://"])
def test_what_is_no_http_address_is_refused(address):
    with pytest.raises(UsageError, match="expected an address"):
        normalise_url(address)


@pytest.mark.parametrize(
    ("environment", "prefix", "urls", "key"),
    [
        ({"OPENAI_BASE_URL": "http://a/v1", "OPENAI_API_BASE": "http://b/v1"}, "OPENAI", ("http://a/v1",), "none"),
        ({"OPENAI_API_BASE": "http://b/v1/chat/completions"}, "OPENAI", ("http://b/v1",), "none"),
        ({"OPENAI_API_URL": "http://c/v1, http://d/v1"}, "OPENAI", ("http://c/v1", "http://d/v1"), "none"),
        ({"OPENAI_API_KEY": "k"}, "OPENAI", ("https://api.openai.com/v1",), "k"),
        (
            {"OPENAI_API_KEY": "k", "JUDGE_API_KEY": "j", "JUDGE_BASE_URL": "http://j/v1"},
            "JUDGE",
            ("http://j/v1",),
            "j",
        ),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://a/v1"}, "JUDGE", ("http://a/v1",), "k"),
        ({"OPENAI_API_KEY": "k", "JUDGE_BASE_URL": "http://j/v1"}, "JUDGE", ("http://j/v1",), "none"),
    ],
)
def test_addresses_and_key_come_from_the_environment(environment, prefix, urls, key):
    assert base_urls(None, prefix, environment) == urls
    assert api_key(None, urls, prefix, environment).reveal() == key


def test_the_vendor_is_not_asked_without_a_key():
    with pytest.raises(UsageError, match="set OPENAI_API_KEY"):
        api_key(None, base_urls(None, environment={}), environment={})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.25", 0.25),
        ("-1", 0.0),
        (formatdate(1_000_007, usegmt=True), 7.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header, seconds):
    assert retry_after(header, now=1_000_000.0) == seconds


@pytest.mark.parametrize("failures", [1, 2, 5, 50])
def test_back_off_doubles_with_jitter_up_to_a_limit(failures):
    whole = min(60.0, 0.5 * 2 ** (failures - 1))
    assert all(whole / 2 <= backoff(failures, 0.5) <= whole for _ in range(50))


def test_a_429_halves_the_limit_once_for_all_requests_in_flight_and_success_raises_it():
    server = Server("http://a/v1", most=16)
    server.refused(started=10.0)
    server.refused(started=10.0)
    assert server.limit == 8
    for _ in range(8):
        server.succeeded()
    assert 8.9 < server.limit <= 9
    for _ in range(10_000):
        server.succeeded()
    assert server.limit == 16


def test_a_limit_never_falls_below_one_connection():
    server = Server("http://a/v1", most=2)
    for step in range(9):
        server.refused(started=1e12 + step)
        server.reduced_at = 0.0
    assert server.limit == 1
    assert server.free


def test_a_failing_server_is_the_last_choice():
    fleet = Fleet(("http://a/v1", "http://b/v1"), connections=2)
    a, b = fleet.servers
    a.failed()
    assert [fleet._choose(None) for _ in range(4)] == [b] * 4
    b.active = 2
    assert fleet._choose(None) is a


@pytest.mark.parametrize(
    ("prompt", "messages"),
    [
        (Prompt("1", "Hi"), [{"role": "user", "content": "Hi"}]),
        (Prompt("1", "", system="Extract."), [{"role": "system", "content": "Extract."}]),
        (
            Prompt("1", "Hi", system="Be brief."),
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        ),
        (
            Prompt("1", "And you?", turns=(Turn("user", "Hi"), Turn("assistant", "Hello."))),
            [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "And you?"},
            ],
        ),
    ],
)
def test_a_prompt_becomes_chat_messages(prompt, messages):
    assert chat_messages(prompt) == messages


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_sent_as_its_own_bytes(tmp_path, kind):
    path = tmp_path / "scene.bin"
    Image.new("RGB", (5, 4), "red").save(path, kind)
    parts = chat_messages(Prompt("1", "What?", (ImageFile(tmp_path, "scene.bin"),)))[0]["content"]
    head, data = parts[0]["image_url"]["url"].split(",")
    assert head == f"data:image/{kind.lower()};base64"
    assert base64.b64decode(data) == path.read_bytes()
    assert parts[1] == {"type": "text", "text": "What?"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<html></html>", "HTML"),
        ('{"choices": [{"mess', "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ("[]", "no choices"),
        ('{"choices": []}', "no choices"),
        ('{"error": {"message": "busy"}}', "the server says: busy"),
        ('{"choices": [null]}', "no message text"),
        ('{"choices": [{"message": {"content": 3}}]}', "no message text"),
    ],
)
def test_a_body_that_is_no_completion_is_named(body, reason):
    with pytest.raises(ValueError, match=reason):
        read_reply(body)


def test_every_sample_is_a_request_with_its_own_seed():
    sampling = Sampling(temperature=0.7, top_p=0.9, n=3, max_new_tokens=17, seed=5)
    with FaultyServer() as server:
        responses = list(engine_for(server).generate(PROMPTS[:2], sampling))
    assert sorted((r.prompt_id, r.sample) for r in responses) == [(p, s) for p in ("p0", "p1") for s in range(3)]
    sent = {(body["messages"][0]["content"], body["seed"]) for body in server.bodies}
    assert sent == {(p.text, sampling.seed_for(p.id, s)) for p in PROMPTS[:2] for s in range(3)}
    assert {(b["temperature"], b["top_p"], b["max_tokens"], b["model"]) for b in server.bodies} == {
        (0.7, 0.9, 17, "tiny")
    }
    assert {r.tokens for r in responses} == {9}


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("cut", "connection failed"),
        ("timeout", "no reply within"),
        ("html", "reply is HTML"),
        ("torn", "reply is broken JSON"),
    ],
)
def test_a_fault_is_retried_a_bounded_number_of_times_and_told(kind, error):
    with FaultyServer(faults=0.4, seed=3, kinds=(kind,), hang_s=1.2) as server:
        completions = list(engine_for(server, attempts=5, timeout_s=0.5).complete(PROMPTS, Sampling()))
    assert {c.response.prompt_id for c in completions} == {p.id for p in PROMPTS}
    texts = {p.id: p.text for p in PROMPTS}
    for completion in completions:
        planned = [server.fault(texts[completion.response.prompt_id], call) for call in range(1, 6)]
        expected = planned.index(None) + 1 if None in planned else 5
        assert len(completion.attempts) == expected
        assert all(error in str(attempt.error) for attempt in completion.attempts[: expected - 1])
        assert (completion.response.text is None) == (None not in planned)
    assert sum(server.calls.values()) == sum(len(c.attempts) for c in completions) > len(PROMPTS)


def test_a_server_that_always_fails_gives_failed_responses_not_empty_ones():
    with FaultyServer(faults=1.0, kinds=("500",)) as server:
        responses = list(engine_for(server, attempts=3).generate(PROMPTS[:4], Sampling()))
    assert [r.text for r in responses] == [None] * 4
    assert all("HTTP 500" in str(r.failure) and "after 3 attempts" in str(r.failure) for r in responses)


def test_retry_after_is_waited_for(monkeypatch):
    waits = []

    async def note(seconds):
        waits.append(seconds)

    monkeypatch.setattr("evalkit.engines.openai.asyncio.sleep", note)
    with FaultyServer(faults=1.0, kinds=("429",), retry_after="7") as server:
        (response,) = engine_for(server, attempts=3).generate(PROMPTS[:1], Sampling())
    assert response.text is None
    assert [7 < wait < 7.1 for wait in waits if wait] == [True, True]


def test_a_wait_of_an_hour_is_not_taken():
    with FaultyServer(faults=1.0, kinds=("429",), retry_after="3600") as server:
        (response,) = engine_for(server).generate(PROMPTS[:1], Sampling())
    assert "asks to wait 3600 s" in str(response.failure)
    assert sum(server.calls.values()) == 1


def test_empty_content_is_asked_again_and_then_a_failure():
    with FaultyServer(answer=lambda text: " ") as server:
        (response,) = engine_for(server).generate(PROMPTS[:1], Sampling())
    assert response.text is None
    assert "empty content" in str(response.failure)
    assert sum(server.calls.values()) == EMPTY_ATTEMPTS


def test_a_reply_of_another_model_is_an_answer_and_its_name_is_told():
    with FaultyServer(faults=1.0, kinds=("other model",)) as server:
        (completion,) = engine_for(server).complete(PROMPTS[:1], Sampling())
    assert completion.response.text is not None
    assert [attempt.model for attempt in completion.attempts] == ["another-model"]
    assert sum(server.calls.values()) == 1


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}), "the key was refused"),
        (403, "{}", "access was refused"),
        (404, '{"error": {"message": "model tiny does not exist"}}', "no such model"),
        (429, '{"error": {"code": "insufficient_quota", "message": "pay"}}', "quota"),
    ],
)
def test_a_fatal_answer_stops_at_once_and_shows_no_key(status, body, reason):
    with FaultyServer(status=status, status_body=body) as server:
        engine = engine_for(server, connections=4)
        with pytest.raises(EngineError, match=reason) as caught:
            list(engine.generate(PROMPTS, Sampling()))
    assert sum(server.calls.values()) <= 4
    assert KEY not in str(caught.value) + repr(caught.getrepr(style="long")) + repr(engine) + repr(vars(engine))


def test_a_prompt_the_server_refuses_fails_alone_and_is_not_retried():
    with FaultyServer(status=400, status_body='{"error": {"message": "context too long"}}') as server:
        (response,) = engine_for(server).generate(PROMPTS[:1], Sampling())
    assert "context too long" in str(response.failure)
    assert sum(server.calls.values()) == 1


def test_a_server_that_wants_max_completion_tokens_gets_it():
    class Picky(FaultyServer):
        async def _reply(self, writer, head, body):
            self.status = 400 if "max_tokens" in body else None
            self.status_body = '{"error": {"message": "use max_completion_tokens instead", "param": "max_tokens"}}'
            return await super()._reply(writer, head, body)

    with Picky() as server:
        (response,) = engine_for(server).generate(PROMPTS[:1], Sampling(max_new_tokens=12))
    assert response.text is not None
    assert server.bodies[-1]["max_completion_tokens"] == 12


def test_a_server_that_is_not_there_is_an_engine_error():
    engine = OpenAIEngine("tiny", "http://127.0.0.1:9/v1", KEY, attempts=2, backoff_s=0.005)
    with pytest.raises(EngineError, match=r"no reply from http://127\.0\.0\.1:9/v1"):
        list(engine.generate(PROMPTS, Sampling()))


def test_a_server_that_dies_and_comes_back_costs_nothing_but_time():
    with FaultyServer(latency_s=0.01) as first:
        engine = engine_for(first, connections=4, backoff_s=0.05)
        responses = engine.generate(PROMPTS, Sampling())
        found = [next(responses) for _ in range(10)]
    with FaultyServer(port=first.port) as second:
        found += responses
    assert sorted(r.prompt_id for r in found) == sorted(p.id for p in PROMPTS)
    assert all(r.text is not None for r in found)
    assert sum(second.calls.values()) <= len(PROMPTS) - 10


def test_a_server_that_stays_away_ends_the_run_instead_of_failing_every_prompt():
    with FaultyServer(latency_s=0.01) as server:
        engine = engine_for(server, connections=2, attempts=2)
        responses = engine.generate(PROMPTS, Sampling())
        next(responses)
    with pytest.raises(EngineError, match="what was finished is kept"):
        list(responses)


def test_a_fleet_survives_the_loss_of_a_server():
    with FaultyServer() as alive:
        engine = OpenAIEngine("tiny", f"http://127.0.0.1:9/v1,{alive.url}", KEY, backoff_s=0.005, connections=4)
        responses = list(engine.generate(PROMPTS, Sampling()))
    assert all(response.text is not None for response in responses)


def test_a_fleet_shares_the_work():
    with FaultyServer(latency_s=0.01) as one, FaultyServer(latency_s=0.01) as two:
        engine = OpenAIEngine("tiny", [one.url, two.url], KEY, connections=4)
        assert len(list(engine.generate(PROMPTS, Sampling()))) == len(PROMPTS)
    assert min(sum(one.calls.values()), sum(two.calls.values())) >= len(PROMPTS) // 4


def test_no_more_requests_at_once_than_connections():
    with FaultyServer(latency_s=0.02) as server:
        list(engine_for(server, connections=5).generate(PROMPTS, Sampling()))
    assert server.busiest == 5


class CachingServer(FaultyServer):
    """Had three quarters of every prompt in its prefix cache."""

    def completion(self, body: dict[str, Any], text: str, model: str) -> dict[str, Any]:
        usage = {"prompt_tokens": 100, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 75}}
        return super().completion(body, text, model) | {"usage": usage}


def test_tokens_that_a_server_had_cached_are_counted_and_shown(tmp_path):
    stream = io.StringIO()
    progress = ProgressBar("tiny", stream)
    progress._started["responses"] = (time.monotonic() - 60, 0)  # the work has taken a minute
    with CachingServer() as server:
        engine = engine_for(server)
        assert list(engine.generate(PROMPTS[:3], Sampling()))  # what was asked before is not this run's
        evaluate(ToyBenchmark(4), engine, tmp_path / "run", progress=progress)
        progress._said = 0.0
        progress("responses", 4, 4)
    assert read_manifest(tmp_path / "run")["prompt_tokens"] == {"given": 400, "spared": 300}
    assert "responses 4/4" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("75% of prompts cached")


def test_a_server_that_tells_no_cached_tokens_counts_none(tmp_path):
    with FaultyServer() as server:
        engine = engine_for(server)
        evaluate(ToyBenchmark(4), engine, tmp_path / "run")
    assert (engine.prompt_tokens.given, engine.prompt_tokens.spared) == (0, 0)
    assert "prompt_tokens" not in read_manifest(tmp_path / "run")


@pytest.mark.parametrize("details", [None, [], "x", {}, {"cached_tokens": None}, {"cached_tokens": -1}])
def test_usage_that_is_no_count_is_no_count(details):
    message = {"choices": [{"message": {"content": "Yes."}}], "usage": {"prompt_tokens_details": details}}
    assert read_reply(json.dumps(message)).tokens_cached is None


def test_stop_finishes_what_is_in_flight_and_asks_nothing_new():
    with FaultyServer(latency_s=0.02) as server:
        engine = engine_for(server, connections=4)
        responses = []
        for response in engine.generate(PROMPTS, Sampling()):
            responses.append(response)
            engine.stop()
        assert len(responses) == sum(server.calls.values()) < len(PROMPTS)
        rest = [p for p in PROMPTS if p.id not in {r.prompt_id for r in responses}]
        responses += engine.generate(rest, Sampling())
    assert max(server.calls.values()) == 1
    assert len(responses) == len(PROMPTS)


def test_leaving_the_iterator_early_is_harmless():
    with FaultyServer() as server:
        engine = engine_for(server)
        next(engine.generate(PROMPTS, Sampling()))
        assert len(list(engine.generate(PROMPTS[:5], Sampling()))) == 5
        engine.close()
        engine.close()


def test_an_unreadable_image_fails_its_own_prompt(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    prompts = [Prompt("bad", "?", (ImageFile(tmp_path, "bad.png"),)), Prompt("good", "?")]
    with FaultyServer() as server:
        responses = {r.prompt_id: r for r in engine_for(server).generate(prompts, Sampling())}
    assert "bad.png" in str(responses["bad"].failure)
    assert responses["good"].text is not None


def test_choices_and_logprobs_are_read_where_they_are_served():
    class WithLogprobs(FaultyServer):
        def completion(self, body, text, model):
            reply = super().completion(body, text, model)
            top = [
                {"token": " Yes", "logprob": -0.5},
                {"token": "No", "logprob": -1.0},
                {"token": "yes", "logprob": -3},
            ]
            reply["choices"][0]["logprobs"] = {"content": [{"token": " Yes", "logprob": -0.5, "top_logprobs": top}]}
            tokens = [None, {"5": {"logprob": -0.1}}, {"6": {"logprob": -0.2}}]
            more = [{"7": {"logprob": -1.5}}, {"8": {"logprob": -2.5}}] if len(body["messages"]) == 2 else []
            return reply | {"prompt_logprobs": tokens + more}

    with WithLogprobs() as server:
        engine = engine_for(server)
        (choices,) = engine.choices(PROMPTS[:1], [["yes", "Yes"], ["no", "No"]])
        found = engine.logprobs(PROMPTS[:2], ["a b", "c d"])
    assert choices.argmax == "Yes"
    assert choices.masses == pytest.approx((0.6065306597 + 0.0497870684, 0.3678794412))
    assert [(f.token_ids, f.logprobs) for f in found] == [((7, 8), (-1.5, -2.5))] * 2


@pytest.mark.parametrize("operation", ["choices", "logprobs"])
def test_a_server_without_log_probabilities_is_an_engine_error(operation):
    with FaultyServer() as server:
        engine = engine_for(server)
        with pytest.raises(EngineError, match=r"no .*log-probabilities"):
            engine.choices(PROMPTS[:1], [["a"]]) if operation == "choices" else engine.logprobs(PROMPTS[:1], ["a"])


def test_beam_search_is_refused_before_anything_is_asked():
    with FaultyServer() as server, pytest.raises(EngineError, match="beam"):
        engine_for(server).generate(PROMPTS, Sampling(num_beams=3))
    assert not server.calls


def test_the_key_travels_in_the_header_only(caplog, tmp_path: Path):
    caplog.set_level(logging.DEBUG)
    kinds = tuple(kind for kind in FAULTS if kind != "timeout")
    with FaultyServer(faults=0.5, seed=2, kinds=kinds) as server:
        engine = engine_for(server, timeout_s=60)
        completions = list(engine.complete(PROMPTS, Sampling()))
        engine.close()
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in caplog.text + repr(completions) + repr(server.bodies) + json.dumps(dict(engine.describe()))


def test_what_is_said_of_a_server_that_does_not_answer_holds_no_key(caplog):
    """Whether a request arrives within the limit depends on the machine's load; that none is answered does not."""
    caplog.set_level(logging.DEBUG)
    with FaultyServer(faults=1.0, kinds=("timeout",), hang_s=60) as server:
        engine = engine_for(server, timeout_s=0.05)
        with pytest.raises(EngineError) as caught:
            list(engine.complete(PROMPTS[:2], Sampling()))
        engine.close()
    assert KEY not in caplog.text + str(caught.value) + repr(server.bodies)
