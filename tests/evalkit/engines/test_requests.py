"""What a request to a server holds, and what servers answer that is neither a text nor a plain error."""

import json

import pytest
from faulty_server import FaultyServer

from evalkit.cli.options import key_values
from evalkit.engines.openai import OpenAIEngine
from evalkit.engines.served.chat import ServerError, read_reply
from evalkit.engines.served.completions import ended_by_itself
from evalkit.engines.served.fields import refused_field
from evalkit.errors import EngineError, UsageError
from evalkit.harness.judge import Judge, JudgeRequest
from evalkit.harness.prices import Budget
from evalkit.runs.signature import Signature
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

PROMPTS = [Prompt(f"p{number}", f"question {number}") for number in range(40)]
THINK = {"chat_template_kwargs": {"enable_thinking": False}}


def engine_for(server, **options):
    return OpenAIEngine("tiny", server.url, "none", **{"timeout_s": 5, "backoff_s": 0.005, "connections": 8, **options})


class Refusing(FaultyServer):
    """Refuses requests that hold a field, in the words given."""

    field = "max_tokens"
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    async def _reply(self, writer, head, body):
        self.status = 400 if self.field in body else None
        self.status_body = json.dumps({"error": {"message": self.words, "param": self.field}})
        return await super()._reply(writer, head, body)


def refusing(field, words):
    return type("Refusing", (Refusing,), {"field": field, "words": words})()


class Saying(FaultyServer):
    """Answers every request with the same body."""

    reply: dict = {}

    def completion(self, body, text, model):
        return self.reply


def saying(reply):
    return type("Saying", (Saying,), {"reply": reply})()


def message(content, **more):
    return {"choices": [{"message": {"role": "assistant", "content": content, **more}, "finish_reason": "stop"}]}


def test_no_response_is_lost_while_connections_learn_the_name_of_the_limit():
    with refusing(Refusing.field, Refusing.words) as server:
        responses = list(engine_for(server, attempts=1).generate(PROMPTS, Sampling(max_new_tokens=12)))
    assert [r.failure for r in responses] == [None] * len(PROMPTS)
    assert all(body.get("max_completion_tokens") == 12 for body in server.bodies if "max_tokens" not in body)


def test_a_request_that_is_written_anew_is_charged_like_any_other():
    budget = Budget(calls=20)
    with refusing(Refusing.field, Refusing.words) as server:
        judge = Judge(engine_for(server, attempts=1, connections=1), budget=budget)
        requests = [JudgeRequest(prompt.id, 0, prompt) for prompt in PROMPTS[:10]]
        assert len(list(judge.verdicts(requests, Sampling(), lambda reply: None))) == 10
    assert budget.spent_calls == server.received == 11


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
        ("seed", '[{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]'),
        ("seed", 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'),
        ("top_p", "`temperature` and `top_p` cannot both be specified for this model."),
        ("repetition_penalty", "Unrecognized request argument supplied: repetition_penalty"),
    ],
)
def test_a_setting_that_no_request_may_hold_ends_the_work_at_once_and_is_left_out_on_request(field, words):
    sampling = Sampling(temperature=0.5, repetition_penalty=1.1)
    with refusing(field, words) as server:
        refused = "temperature" if field == "top_p" else field
        with pytest.raises(EngineError, match=f"omit={refused}"):
            list(engine_for(server, connections=2).generate(PROMPTS, sampling))
        assert server.received <= 2
    with refusing(field, words) as server:
        responses = list(engine_for(server, omit=field).generate(PROMPTS[:3], sampling))
        assert [r.failure for r in responses] == [None] * 3
        assert all(field not in body for body in server.bodies)


def test_words_that_name_no_field_refuse_none():
    assert refused_field("this model's maximum context length is 4096 tokens", ["max_tokens", "seed"]) is None
    assert refused_field("cannot read the seed of doubt", ["seed"]) is None


@pytest.mark.parametrize(
    ("omit", "fields"),
    [("temperature", {"T": "server"}), ("top_p, max_tokens", {"top_p": "server", "max": "server"}), ("seed", {})],
)
def test_the_signature_says_which_settings_the_server_chose(omit, fields):
    with FaultyServer() as server:
        model = engine_for(server, omit=omit).describe()
    sampling = Sampling().as_dict()
    protocol = Signature.of({"benchmark": "chair", "model": model, "sampling": sampling}).protocol
    assert protocol == {"max": "512", "T": "0", "top_p": "1", "beams": "1"} | fields


def test_further_fields_go_with_every_request_and_stand_in_the_signature():
    with FaultyServer() as server:
        engine = engine_for(server, extra=THINK)
        list(engine.generate(PROMPTS[:2], Sampling()))
    assert [body["chat_template_kwargs"] for body in server.bodies] == [{"enable_thinking": False}] * 2
    signature = Signature.of({"benchmark": "mmhal", "model": engine.describe(), "judge": engine.describe()})
    assert signature.subject["extra.chat_template_kwargs.enable_thinking"] == "False"
    assert signature.protocol["judge.extra.chat_template_kwargs.enable_thinking"] == "False"


@pytest.mark.parametrize(
    ("extra", "omit", "remedy"),
    [
        ({"temperature": 1.0}, "", "--temperature"),
        ({"max_tokens": 9}, "", "--max-new-tokens"),
        ({"max_completion_tokens": 9}, "temperature", "omit=max_completion_tokens"),
        ({"n": 2}, "", "set by the program"),
        ({"stream": True}, "", "set by the program"),
        ({"messages": []}, "", "set by the program"),
        ({}, "temprature", "temprature"),
    ],
)
def test_a_field_that_would_make_the_signature_wrong_is_refused(extra, omit, remedy):
    with pytest.raises(UsageError, match=remedy):
        OpenAIEngine("m", "http://127.0.0.1:9/v1", "none", extra=extra, omit=omit)


def test_a_field_that_is_left_out_may_be_set_by_hand():
    with FaultyServer() as server:
        list(engine_for(server, extra={"temperature": 1.0}, omit="temperature").generate(PROMPTS[:1], Sampling()))
    assert server.bodies[0]["temperature"] == 1.0


@pytest.mark.parametrize("name", ["api_key", "Authorization", "X-Api-Key", "password"])
def test_a_key_among_further_fields_is_not_written_down(name):
    engine = OpenAIEngine("m", "http://127.0.0.1:9/v1", "none", extra={"gateway": {name: "hunter2-very-long"}})
    assert "hunter2" not in json.dumps(dict(engine.describe())) + repr(vars(engine)["_key"])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "A "}, {"type": "text", "text": "dog."}], "A dog."),
        ([{"type": "output_text", "text": "A dog."}], "A dog."),
        (["A ", "dog."], "A dog."),
        ({"type": "text", "text": "A dog."}, "A dog."),
        ([{"type": "thinking", "thinking": "A cat?"}, {"type": "text", "text": "A dog."}], "A dog."),
        ([{"type": "text", "text": {"value": "A dog."}}], "A dog."),
        ([{"type": "refusal", "refusal": "I cannot help."}], "I cannot help."),
    ],
)
def test_content_in_parts_is_the_text_of_its_parts(content, text):
    with saying(message(content)) as server:
        (response,) = engine_for(server).generate(PROMPTS[:1], Sampling())
    assert response.text == text
    assert server.received == 1


def test_a_refusal_beside_empty_content_is_what_the_model_said():
    assert read_reply(json.dumps(message(None, refusal="I cannot help."))).text == "I cannot help."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "image too large", "code": 400}}, "image too large"),
        ({"object": "error", "message": "image too large", "code": 40303}, "image too large"),
        ({"detail": [{"msg": "field required"}]}, "field required"),
        ({"errors": ["image too large"], "choices": None}, "image too large"),
        ({"choices": [{"error": {"message": "provider died", "code": 502}, "message": {"content": "A d"}}]}, "died"),
        ({**message(""), "error": "overloaded"}, "overloaded"),
    ],
)
def test_an_error_under_status_200_keeps_the_servers_words(body, words):
    with pytest.raises(ServerError, match=words):
        read_reply(json.dumps(body))
    with saying(body) as server:
        (response,) = engine_for(server, attempts=2).generate(PROMPTS[:1], Sampling())
    assert words in response.failure


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, {"error": {"message": "Insufficient Balance"}}),
        (200, {"error": {"message": "Insufficient Balance", "code": 402}}),
        (429, {"error": {"message": "pay", "type": "insufficient_quota", "code": None}}),
        (400, {"error": {"message": "pay", "code": "billing_hard_limit_reached"}}),
        (200, {"error": {"message": "pay", "code": "insufficient_quota"}}),
    ],
)
def test_a_bill_that_is_not_paid_ends_the_work_at_once(status, body):
    with FaultyServer(status=status, status_body=json.dumps(body)) as server:
        with pytest.raises(EngineError, match=r"payment is required|quota is used up"):
            list(engine_for(server, connections=4).generate(PROMPTS, Sampling()))
        assert server.received <= 4


def test_a_limit_that_thoughts_used_up_is_not_paid_for_again():
    reply = message(None, reasoning_content="hm") | {"usage": {"prompt_tokens": 3, "completion_tokens": 512}}
    reply["choices"][0]["finish_reason"] = "length"
    with saying(reply) as server:
        (response,) = engine_for(server).generate(PROMPTS[:1], Sampling())
    assert "raise the limit" in response.failure
    assert server.received == 1


@pytest.mark.parametrize(
    ("finish", "ended"),
    [
        *((word, True) for word in ("stop", "STOP", "eos_token", "end_turn", "stop_sequence", "COMPLETE", None)),
        *((word, True) for word in ("FINISH_REASON_STOP", "finished", "<|endoftext|>")),
        *((word, False) for word in ("length", "MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "incomplete", "abort")),
        *((word, False) for word in ("content_filter", "model_length", "SAFETY", "suspended", "error")),
    ],
)
def test_a_text_ended_by_itself_only_where_the_server_says_so_or_nothing(finish, ended):
    assert ended_by_itself(finish) is ended


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["a=1,b=2"], {"a": "1", "b": "2"}),
        (['extra={"a": [1, 2], "b": "x=1,y=2"}'], {"extra": '{"a": [1, 2], "b": "x=1,y=2"}'}),
        (['a=1,extra={"q": "\\"},"},c=3'], {"a": "1", "extra": '{"q": "\\"},"}', "c": "3"}),
    ],
)
def test_commas_inside_of_json_do_not_divide(words, values):
    assert key_values(words, "--engine-args") == values
