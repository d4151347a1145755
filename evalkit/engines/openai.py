"""Any OpenAI-compatible server, one or a fleet, for the model under test and for the judge.

Each response is one request with a seed of its own (n responses are n requests), so an interrupted run continues
at the response it stopped at. A fault is retried a bounded number of times, then it is a failed response:

    retried        429, 408, 409, 425, 5xx, time-outs, cut connections, replies that are not JSON, empty content
    failed at once other 4xx (a prompt that is too long), content refused by the server's filter
    fatal          401, 402, 403, 404, an exhausted quota, a field that no request may hold, a server that cannot be
                   reached: EngineError, work stops

A reply from a model of another name is an answer; the name is recorded with the attempt.
"""

import asyncio
import errno
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from evalkit.engines.base import Choices, TokenLogprobs
from evalkit.engines.served.background import Background
from evalkit.engines.served.chat import Reply, ServerError, chat_messages, read_reply
from evalkit.engines.served.completions import Attempt, Completion
from evalkit.engines.served.endpoints import api_key, base_urls, split_query, without_secrets
from evalkit.engines.served.faults import SPENT_CODES, Fault, empty_content, shortened
from evalkit.engines.served.fields import added, decoding_fields, omitted, refused_field, remedy, renamed
from evalkit.engines.served.fleet import Fleet, Server, backoff, retry_after
from evalkit.engines.served.groups import PromptTokens, together
from evalkit.engines.served.transport import RedirectedError, ReplyTooLargeError, http_client, root_cause
from evalkit.errors import DataError, EngineError
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

if TYPE_CHECKING:
    from openai import APIStatusError

T = TypeVar("T")

FATAL_STATUS = {
    401: "the key was refused",
    402: "payment is required",
    403: "access was refused",
    404: "no such model or address",
}
RETRIED_STATUS = {408, 409, 425, 429}
UNREACHABLE_IN_ROW = 8  # prompts in a row without any reply: the server is gone
LONGEST_WAIT_S = 600.0  # a Retry-After beyond it fails the prompt instead
RAW_LIMIT = 2000  # characters kept of a reply that could not be read
TOP_LOGPROBS = 20


class OpenAIEngine:
    """A served model.

    Args:
        model: name the server knows it by.
        urls: one base URL, several (a fleet), or None for the environment's, see `endpoints`.
        key: API key, None for the environment's.
        connections: requests at once per server, at most; it adapts to 429 replies.
        attempts: requests per response, at most.
        timeout_s: of one attempt, from connecting to the last byte.
        backoff_s: first wait after a fault, doubled each time, with jitter.
        extra: further fields of the request body, e.g. {"chat_template_kwargs": {"enable_thinking": False}}.
        omit: fields that are left out of the request, for models that refuse them, e.g. "temperature+top_p+seed";
            the signature says so, and that the server's own default holds.
        prefix: of the environment variables.
    Attributes:
        prompt_tokens: tokens of prompts so far, and how many of them came from a prefix cache, of servers that tell.
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        urls: str | Iterable[str] | None = None,
        key: str | None = None,
        *,
        connections: int = 32,
        attempts: int = 8,
        timeout_s: float = 300.0,
        backoff_s: float = 0.5,
        extra: Mapping[str, Json] | None = None,
        omit: str = "",
        prefix: str = "OPENAI",
    ) -> None:
        if min(connections, attempts) < 1:
            raise EngineError(f"connections and attempts must be at least 1; got {connections}, {attempts}")
        from openai import AsyncOpenAI

        addresses = base_urls(urls, prefix)
        self.model = model
        self.base_urls = tuple(without_secrets(address) for address in addresses)
        self._addresses = addresses
        self._omit = omitted(omit)
        self._extra = added(extra, self._omit)
        self._key = api_key(key, addresses, prefix).and_those_of(self._extra)
        self._attempts, self._timeout_s, self._backoff_s = attempts, timeout_s, backoff_s
        self._fleet = Fleet(addresses, connections)
        self._clients: dict[str, AsyncOpenAI] = {
            address: AsyncOpenAI(
                api_key=self._key.reveal(),
                base_url=(parts := split_query(address))[0],
                default_query=parts[1],
                max_retries=0,
                timeout=timeout_s,
                http_client=http_client(timeout_s, connections),
            )
            for address in addresses
        }
        self.prompt_tokens = PromptTokens()
        self._limit_field = "max_tokens"
        self._answered = self._completed = False
        self._unreachable = 0
        self._stopping = False
        self._background: Background | None = None
        self._opening = threading.Lock()

    def __repr__(self) -> str:
        return f"OpenAIEngine({self.model!r}, {', '.join(self.base_urls)})"

    def describe(self) -> Mapping[str, Json]:
        """Model and request fields. Not the address: a job may find the same model on another node tomorrow."""
        description: dict[str, Json] = {"engine": self.name, "model": self.model}
        if self._extra:
            description["extra"] = self._key.redact_json(self._extra)
        return description | ({"omit": "+".join(sorted(self._omit))} if self._omit else {})

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """See `Engine.generate`. Questions about one image are sent one after the other: servers cache prefixes."""
        ordered = [prompts[i] for i in together(prompts)]
        return (completion.response for completion in self.complete(ordered, sampling))

    def complete(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Like `generate`, with every attempt reported; `prompts` is read lazily, so its reader decides when to stop.

        Raises:
            EngineError: on a fatal fault, after which nothing more is asked; what was yielded stays valid.
        """
        if sampling.num_beams > 1:
            raise EngineError("OpenAI-compatible chat servers offer no beam search: use num_beams 1")
        self._stopping = False
        jobs = self._jobs(prompts, sampling.n)
        return self._stream(jobs, lambda job: self._respond(job[0], sampling, job[1]))

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        """See `Engine.logprobs`. Needs a server that returns prompt log-probabilities (vLLM does).

        The continuation's tokens are those that follow the tokens of the prompt alone.
        """
        pairs = list(enumerate(zip(prompts, continuations, strict=True)))
        by_index = dict(self._stream(iter(pairs), lambda pair: self._logprobs(pair[0], *pair[1])))
        return [by_index[index] for index in range(len(pairs))]

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """See `Engine.choices`. Only the server's most likely tokens are seen: a form beyond them has mass 0."""
        by_index = dict(self.stream_choices(prompts, groups))
        return [by_index[index] for index in range(len(prompts))]

    def stream_choices(
        self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, Choices]]:
        """See `StreamsChoices`."""
        jobs = ((index, prompts[index]) for index in together(prompts))
        return self._stream(jobs, lambda job: self._choices(job[0], job[1], groups))

    def stop(self) -> None:
        """See `Engine.stop`: no new prompt is asked; those under way, their retries included, are finished."""
        self._stopping = True

    def _jobs(self, prompts: Iterable[Prompt], n: int) -> Iterator[tuple[Prompt, int]]:
        for prompt in prompts:
            for sample in range(n):
                if self._stopping:
                    return
                yield prompt, sample

    def close(self) -> None:
        """Close the connections."""
        if self._background is not None:
            for client in self._clients.values():
                self._background.run(client.close())
            self._background.stop()
            self._background = None

    def _stream(self, jobs: Iterator[Any], work: Callable[[Any], Coroutine[Any, Any, T]]) -> Iterator[T]:
        """Work on the jobs, as many at once as there are connections."""
        with self._opening:  # two threads may ask at once
            if self._background is None:
                self._background = Background()
        return self._background.stream(jobs, work, self._fleet.most)

    async def _respond(self, prompt: Prompt, sampling: Sampling, sample: int) -> Completion:
        try:
            body = self._body(prompt, sampling.max_new_tokens)
            body |= decoding_fields(sampling, prompt, sample, self._omit)
        except DataError as error:
            failed = Response(prompt.id, None, sample, failure=str(error))
            return Completion(failed, (Attempt(None, error=str(error)),))
        reply, attempts = await self._ask(body)
        if reply is None:
            tried = f" (after {len(attempts)} attempts)" if len(attempts) > 1 else ""
            response = Response(prompt.id, None, sample, failure=f"{attempts[-1].error}{tried}")
        else:
            response = Response(prompt.id, reply.text, sample, reply.finish, tokens=reply.tokens_out)
        return Completion(response, tuple(attempts))

    async def _logprobs(self, index: int, prompt: Prompt, continuation: str) -> tuple[int, TokenLogprobs]:
        body = self._body(prompt, 1) | {"temperature": 0.0, "prompt_logprobs": 0}
        turn = {"role": "assistant", "content": continuation}
        whole = body | {
            "messages": [*body["messages"], turn],
            "add_generation_prompt": False,
            "continue_final_message": True,
        }
        lengths = []
        for request in (body, whole):
            tokens = (await self._measure(request)).body.get("prompt_logprobs")
            if not isinstance(tokens, list):
                raise EngineError(
                    f"{self.model}: the server returns no prompt log-probabilities; use the transformers or vllm engine"
                )
            lengths.append(tokens)
        ids, values = [], []
        for entry in lengths[1][len(lengths[0]) :]:
            token, value = next(iter(entry.items()))
            ids.append(int(token))
            values.append(float(value["logprob"]))
        return index, TokenLogprobs(tuple(ids), tuple(values))

    async def _choices(self, index: int, prompt: Prompt, groups: Sequence[Sequence[str]]) -> tuple[int, Choices]:
        body = self._body(prompt, 1) | {"temperature": 0.0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        reply = await self._measure(body)
        try:
            top = reply.body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            masses = [(str(entry["token"]), math.exp(float(entry["logprob"]))) for entry in top]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineError(
                f"{self.model}: the server returns no log-probabilities; use the transformers or vllm engine"
            ) from error
        forms = [(token.replace("▁", " ").strip(), mass) for token, mass in masses]
        sums = tuple(sum(mass for form, mass in forms if form in group) for group in groups)
        return index, Choices(sums, max(forms, key=lambda entry: entry[1])[0])

    async def _measure(self, body: dict[str, Json]) -> Reply:
        """A reply whose text does not matter.

        Raises:
            EngineError: if there is none; a measurement has no third state.
        """
        reply, attempts = await self._ask(body, need_text=False)
        if reply is None:
            raise EngineError(f"{self.model}: {attempts[-1].error}")
        return reply

    def _body(self, prompt: Prompt, tokens: int) -> dict[str, Json]:
        limit = {} if {"max_tokens", "max_completion_tokens"} & {*self._omit} else {"max_tokens": tokens}
        return {"model": self.model, "messages": chat_messages(prompt), **limit, **self._extra}

    async def _ask(self, body: dict[str, Json], need_text: bool = True) -> tuple[Reply | None, list[Attempt]]:
        """Send a request until it is answered or out of attempts; every attempt is told."""
        attempts: list[Attempt] = []
        last: Server | None = None
        adapted = 0
        while True:
            server = await self._fleet.take(avoid=last)
            try:
                outcome = await self._attempt(server, body)
            finally:
                await self._fleet.give_back(server)
            if isinstance(outcome, Reply):
                if outcome.tokens_in is not None and outcome.tokens_cached is not None:
                    self.prompt_tokens.add(outcome.tokens_in, outcome.tokens_cached)
                empty = need_text and not outcome.text.strip()
                fault = empty_content(outcome, len(attempts) + 1) if empty else None
                attempts.append(self._told(outcome, fault))
                if fault is None:
                    return outcome, attempts
            else:
                fault = outcome
                attempts.append(Attempt(fault.raw, error=fault.error, sent=fault.sent))
                if fault.adapted:
                    adapted += 1
                    continue
                last = server
            if not fault.again or len(attempts) - adapted >= self._attempts:
                self._give_up(fault, server)
                return None, attempts
            await asyncio.sleep(fault.wait_s + backoff(len(attempts), self._backoff_s))

    def _told(self, reply: Reply, fault: Fault | None) -> Attempt:
        text = self._key.redact(reply.text)
        error = fault.error if fault else None
        return Attempt(text, reply.model, error, reply.tokens_in, reply.tokens_out, reply.finish)

    def _give_up(self, fault: Fault, server: Server) -> None:
        """Stop everything if it is the server that is gone, not one prompt that failed."""
        if not fault.unreachable:
            return
        self._unreachable += 1
        if not self._answered or self._unreachable >= UNREACHABLE_IN_ROW:
            raise EngineError(
                f"no reply from {without_secrets(server.url)}: {fault.error}; what was finished is kept, "
                "rerun the same command to resume"
            )

    async def _attempt(self, server: Server, body: dict[str, Json]) -> Reply | Fault:
        import openai

        started, limit_field = time.monotonic(), self._limit_field
        fault: Fault
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await self._post(server, body, limit_field)
            reply = self._read(text)
        except openai.APIStatusError as error:
            return self._status_fault(error, server, body, started, limit_field)
        except (TimeoutError, openai.APITimeoutError):
            fault = Fault(f"no reply within {self._timeout_s:g} s", again=True, unreachable=True)
        except openai.APIError as error:
            cause = root_cause(error)
            if isinstance(cause, ReplyTooLargeError | RedirectedError):
                self._answered, self._unreachable = True, 0
                return Fault(f"{without_secrets(server.url)}: {cause}", again=False)
            if isinstance(cause, OSError) and cause.errno == errno.EMFILE:
                raise EngineError(
                    "Too many open files: raise `ulimit -n`, or lower connections; what was finished is kept, "
                    "rerun the same command to resume"
                ) from None
            reason = type(error.__cause__ or error).__name__
            refused = isinstance(cause, ConnectionRefusedError) or reason in ("ConnectError", "ConnectTimeout")
            fault = Fault(f"connection failed ({reason})", again=True, unreachable=True, sent=not refused)
        except ServerError as error:
            self._answered, self._unreachable = True, 0
            words = self._key.redact(str(error))
            if error.status in FATAL_STATUS or error.codes & SPENT_CODES:
                what = FATAL_STATUS.get(error.status or 0, "the quota is used up")
                raise EngineError(f"{what} (model {self.model!r}); {words}") from None
            again = error.status is None or error.status in RETRIED_STATUS or error.status >= 500
            fault = Fault(words, again, raw=self._key.redact(text)[:RAW_LIMIT])
        except (ReplyTooLargeError, RedirectedError) as error:
            self._answered, self._unreachable = True, 0
            fault = Fault(str(error), again=False)
        except ValueError as error:
            self._answered, self._unreachable = True, 0
            fault = Fault(str(error), again=True, raw=self._key.redact(text)[:RAW_LIMIT])
        else:
            self._answered, self._unreachable = True, 0
            self._completed = True
            server.succeeded()
            return reply
        server.failed()
        return fault

    def _read(self, text: str) -> Reply:
        """A reply without the key, should the server have echoed it anywhere.

        Raises:
            ValueError: as `read_reply`.
        """
        reply = read_reply(text)
        body: Mapping[str, Json] = self._key.redact_json(reply.body)
        words = (reply.text, reply.model, reply.finish)
        said, model, finish = (None if word is None else self._key.redact(word) for word in words)
        return Reply(said or "", finish, model, reply.tokens_in, reply.tokens_out, body, reply.tokens_cached)

    async def _post(self, server: Server, body: dict[str, Json], limit_field: str) -> str:
        """The body of the reply, unread."""
        # The whole body goes in as extra: converting typed messages would take the client a fifth of its time.
        create: Any = self._clients[server.url].chat.completions.with_raw_response.create
        raw = await create(model=self.model, messages=[], extra_body=renamed(body, limit_field))
        return str(raw.text)

    def _status_fault(
        self, error: "APIStatusError", server: Server, body: Mapping[str, Json], started: float, limit_field: str
    ) -> Fault:
        """What an HTTP error means.

        Raises:
            EngineError: if every other request would meet the same error.
        """
        self._answered, self._unreachable = True, 0
        status = error.status_code
        raw = self._key.redact(error.response.text)[:RAW_LIMIT]
        said = f"HTTP {status} from {without_secrets(server.url)}"
        if status in FATAL_STATUS or {error.code, error.type} & SPENT_CODES:
            what = FATAL_STATUS.get(status, "the quota is used up")
            raise EngineError(f"{said}: {what} (model {self.model!r}); {shortened(raw)}") from None
        if status in (400, 422) and "max_completion_tokens" in raw and limit_field == "max_tokens":
            self._limit_field = "max_completion_tokens"  # newer models of the vendor know this name only
            return Fault(f"{said}: {shortened(raw)}", again=True, raw=raw, adapted=True)
        refused = refused_field(raw, renamed(body, limit_field)) if status in (400, 422) else None
        if refused is not None:
            said = f"{said}: {remedy(refused, self._extra)}"
            if not self._completed:
                raise EngineError(f"{said}; {shortened(raw)}") from None
        again = status in RETRIED_STATUS or status >= 500
        wait_s = retry_after(error.response.headers.get("retry-after")) or 0.0
        if status == 429:
            server.refused(started)
        elif again:
            server.failed()
        if wait_s > LONGEST_WAIT_S:
            return Fault(f"{said}: asks to wait {wait_s:.0f} s", again=False, raw=raw)
        return Fault(f"{said}: {shortened(raw)}" if raw else said, again, wait_s, raw=raw)
