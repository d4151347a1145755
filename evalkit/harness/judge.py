"""A judge rates responses for a benchmark: an engine + a prompt + a check of the reply -> verdict or failure.

    request -> cache -> engine -> reply -> check -> verdict
                          ^------- cannot be read, asked again (another seed), a bounded number of times

Every attempt's raw reply is kept, with the model's name as the server reports it and the tokens it took. What was
answered once is not asked again: finished verdicts are in the run's journal, single replies in the cache.

A row of the journal holds "reply" (the last raw text; with "unreadable" if no attempt could be read, and the benchmark
then says what that means) or "failure" (the judge did not answer).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from evalkit.engines import Engine
from evalkit.engines.base import identity
from evalkit.engines.served.completions import Attempt, CompletesPrompts, complete, ended_by_itself
from evalkit.errors import BudgetReachedError, StoppedError, UsageError
from evalkit.files.cache import Cache, content_key
from evalkit.harness.prices import Budget, Forecast, Price, forecast
from evalkit.process.interrupt import finishing_in_flight
from evalkit.process.progress import Progress
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt
from evalkit.text.thoughts import STANDARD, Thoughts

Check = Callable[[str], str | None]
SampleKey = tuple[str, int]  # item id, index of the sample


class Asking(Protocol):
    """What the judge needs of whoever asks: a benchmark, or one of its further rounds."""

    def judge_sampling(self) -> Sampling:
        """Decoding settings."""

    def check_reply(self, reply: str) -> str | None:
        """Why a reply cannot be read, or None."""


class VerdictJournal(Protocol):
    """An append-only list of rows on disk."""

    rows: list[dict[str, Json]]

    def append(self, row: Mapping[str, Json]) -> None:
        """Add one row."""


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """What the judge is asked about one sample."""

    id: str
    sample: int
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came back for one request.

    key         hash of the judge, the prompt and the sampling; a stored verdict with another key is not this one
    reply       raw text of the last reply; None if the judge never answered
    unreadable  why no reply could be read, None if the last one can be
    failure     why there is no reply
    attempts    everything that was tried, in order
    """

    id: str
    sample: int
    key: str
    reply: str | None
    unreadable: str | None
    failure: str | None
    attempts: tuple[Attempt, ...]

    def as_row(self) -> dict[str, Json]:
        """A line of the journal."""
        row: dict[str, Json] = {"id": self.id, "sample": self.sample, "key": self.key}
        row |= {"failure": self.failure} if self.reply is None else {"reply": self.reply}
        if self.unreadable is not None:
            row["unreadable"] = self.unreadable
        return row | {"attempts": [attempt.as_dict() for attempt in self.attempts]}


@dataclass(slots=True)
class _Open:
    """A request without a verdict yet, and what was tried for it."""

    request: JudgeRequest
    key: str
    attempts: list[Attempt]


def verdict_key(who: Mapping[str, Json], prompt: Prompt, sampling: Sampling) -> str:
    """Hash of everything that influences a reply, but for the server's address; `who` is the judge's `identity`."""
    images = [image.sha256() for image in prompt.images]
    turns = [prompt.turns] if prompt.turns else []  # keys of prompts without any stay what they were
    return content_key(dict(who), prompt.system, prompt.text, images, sampling.as_dict(), *turns)


class Judge:
    """Asks an engine and keeps what it said.

    Args:
        engine: any engine; its own connection limit, retries and time-outs hold.
        retries: how often a reply that cannot be read is asked for again.
        cache: replies of earlier runs, None for none.
        budget: limit on what may be spent, None for none.
        max_new_tokens: limit of a reply, None for the benchmark's.
        thoughts: what is taken off a reply before it is read.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        retries: int = 2,
        cache: Cache | None = None,
        budget: Budget | None = None,
        max_new_tokens: int | None = None,
        thoughts: Thoughts = STANDARD,
    ) -> None:
        if retries < 0:
            raise UsageError(f"judge retries cannot be negative, got {retries}")
        self.engine, self.retries, self.cache, self.budget = engine, retries, cache, budget
        self.max_new_tokens, self.thoughts = max_new_tokens, thoughts
        self._stopping = False
        self._identity = identity(engine)

    def describe(self) -> dict[str, Json]:
        """What the manifest records of the judge."""
        own: dict[str, Json] = {**self.engine.describe(), "retries": self.retries}
        if self.max_new_tokens is not None:
            own["max_new_tokens"] = self.max_new_tokens
        return own | ({"thoughts": self.thoughts.name} if self.thoughts != STANDARD else {})

    def sampling(self, own: Sampling) -> Sampling:
        """The benchmark's decoding settings, with the limit of this judge."""
        return own if self.max_new_tokens is None else replace(own, max_new_tokens=self.max_new_tokens)

    def rule(
        self,
        requests: Sequence[JudgeRequest],
        asking: Asking,
        journal: VerdictJournal,
        progress: Progress = lambda what, done, total: None,
    ) -> dict[SampleKey, Mapping[str, Json]]:
        """The journal row of every request: from the journal where it is there, else by asking.

        Raises:
            BudgetReachedError: if the budget does not allow them all; what was finished is in the journal.
            StoppedError: after SIGINT or SIGTERM, once what was under way is in the journal.
            EngineError: if the engine breaks; what was finished is in the journal.
        """
        sampling = self.sampling(asking.judge_sampling())
        rows = self._stored(requests, sampling, journal.rows)
        progress("verdicts", len(rows), len(requests))
        missing = [request for request in requests if (request.id, request.sample) not in rows]
        with finishing_in_flight(self.stop):
            for verdict in self.verdicts(missing, sampling, asking.check_reply):
                row = verdict.as_row()
                journal.append(row)
                rows[verdict.id, verdict.sample] = row
                progress("verdicts", len(rows), len(requests))
        if len(rows) < len(requests):
            raise StoppedError(
                f"stopped with {len(rows)} of {len(requests)} verdicts; they are kept, rerun the same command to resume"
            )
        return rows

    def stop(self) -> None:
        """Ask nothing new; what is under way is finished."""
        self._stopping = True
        self.engine.stop()

    def verdicts(self, requests: Sequence[JudgeRequest], sampling: Sampling, check: Check) -> Iterator[Verdict]:
        """One verdict per request, each as soon as it is finished.

        Requests with the same content are asked once. A prompt's seed follows from its content, so it does not depend
        on the order, and asking again uses another one.

        Raises:
            BudgetReachedError: after the last call that fits and all those under way.
        """
        self._stopping = False
        waiting = [_Open(request, verdict_key(self._identity, request.prompt, sampling), []) for request in requests]
        for turn in range(self.retries + 1):
            unreadable: list[_Open] = []
            for open_request, attempts in self._answers(waiting, replace(sampling, seed=sampling.seed + turn), turn):
                verdict = self._verdict(open_request, attempts, check)
                again = verdict.unreadable is not None or _is_cut(attempts[-1])
                if again and turn < self.retries:
                    unreadable.append(open_request)
                else:
                    yield verdict
            waiting = unreadable

    def forecast(
        self,
        requests: Sequence[JudgeRequest],
        sampling: Sampling,
        rows: Sequence[Mapping[str, Json]] = (),
        price: Price | None = None,
    ) -> Forecast:
        """What ruling on these requests would take, without asking anything; `rows` are those of the journal."""
        sampling = self.sampling(sampling)
        done = self._stored(requests, sampling, rows)
        new: dict[str, Prompt] = {}
        for request in requests:
            key = verdict_key(self._identity, request.prompt, sampling)
            if (request.id, request.sample) not in done and self._cached(key, 0) is None:
                new[key] = request.prompt
        return forecast(new.values(), len(requests), sampling.max_new_tokens, self.retries + 1, price)

    def _stored(
        self, requests: Sequence[JudgeRequest], sampling: Sampling, rows: Sequence[Mapping[str, Json]]
    ) -> dict[SampleKey, Mapping[str, Json]]:
        """Rows that answer a request: the same judge, prompt and sampling, and a reply."""
        last = {(row.get("id"), row.get("sample"), row.get("key")): row for row in rows}
        stored: dict[SampleKey, Mapping[str, Json]] = {}
        for request in requests:
            row = last.get((request.id, request.sample, verdict_key(self._identity, request.prompt, sampling)))
            if row is None or not isinstance(row.get("reply"), str):
                continue
            said = self.thoughts.take_off(row["reply"])  # rows of 0.1.0 hold them
            if said.answer is not None:
                stored[request.id, request.sample] = (
                    row if said.answer == row["reply"] else {**row, "reply": said.answer}
                )
        return stored

    def _answers(
        self, waiting: Sequence[_Open], sampling: Sampling, turn: int
    ) -> Iterator[tuple[_Open, Sequence[Attempt]]]:
        """The attempts of this turn for every waiting request, from the cache or from the engine."""
        sharing: dict[str, list[_Open]] = {}
        for open_request in waiting:
            sharing.setdefault(open_request.key, []).append(open_request)
        to_ask: dict[str, Prompt] = {}
        for key, same in sharing.items():
            stored = self._cached(key, turn)
            if stored is None:
                to_ask[key] = replace(same[0].request.prompt, id=key)
            else:
                yield from ((open_request, stored) for open_request in same)
        for key, attempts in self._asked(to_ask, sampling):
            if self.cache is not None and attempts[-1].error is None and not _is_cut(attempts[-1]):
                self.cache.put(self._address(key, turn), [attempt.as_dict() for attempt in attempts])
            yield from ((open_request, attempts) for open_request in sharing[key])

    def _asked(self, prompts: Mapping[str, Prompt], sampling: Sampling) -> Iterator[tuple[str, Sequence[Attempt]]]:
        """Ask the engine, as far as the budget goes. Calls that turn out cheaper make room for further ones."""
        left = dict(prompts)
        while left and not self._stopping:
            before = len(left)
            for completion in complete(self.engine, self._affordable(tuple(left.values()), sampling), sampling):
                key = completion.response.prompt_id
                del left[key]
                if self.budget is not None:
                    self.budget.charge(key, completion.attempts)
                yield key, completion.attempts
            if len(left) == before and not self._stopping:
                raise BudgetReachedError(
                    f"budget reached ({self.budget} spent), {len(left)} prompts not asked; finished verdicts are "
                    "kept, rerun it with a larger budget to resume"
                )

    def _affordable(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Prompt]:
        """Prompts one by one, as long as they may be asked; read by the engine whenever it is ready for another."""
        for prompt in prompts:
            if self._stopping or (self.budget is not None and not self.budget.reserve(prompt, sampling.max_new_tokens)):
                return
            yield prompt

    def _cached(self, key: str, turn: int) -> Sequence[Attempt] | None:
        rows = self.cache.get(self._address(key, turn)) if self.cache is not None else None
        if not isinstance(rows, list) or not rows:
            return None
        try:
            return [Attempt.of(row) for row in rows]
        except ValueError:
            return None  # another version's, or damaged: asked again

    def _address(self, key: str, turn: int) -> str:
        """Key in the cache, which outlives a run: two servers may know different models by one name."""
        urls = sorted(self.engine.base_urls) if isinstance(self.engine, CompletesPrompts) else []
        return content_key(key, urls, turn)

    def _verdict(self, open_request: _Open, attempts: Sequence[Attempt], check: Check) -> Verdict:
        """Read what came last; the attempts of earlier turns stay in front."""
        open_request.attempts.extend(attempts)
        request, last = open_request.request, attempts[-1]
        tried = f"(after {len(open_request.attempts)} attempts)"
        reply = last.raw if last.error is None and not _is_cut(last) else None
        unreadable, failure = None, None
        if reply is not None:
            said = self.thoughts.take_off(reply)
            reply = said.answer if said.answer is not None else reply
            unreadable = said.failure if said.answer is None else check(reply)
            if said.answer is None:
                reply, failure = None, f"{said.failure} in the judge's reply {tried}"
        elif _is_cut(last):
            failure = f"the judge's reply did not end by itself (finish: {last.finish}) {tried}; see --judge-max-tokens"
        else:
            failure = f"{last.error} {tried}"
        return Verdict(
            request.id, request.sample, open_request.key, reply, unreadable, failure, tuple(open_request.attempts)
        )


def _is_cut(attempt: Attempt) -> bool:
    """Whether a reply came and did not end by itself: it holds no verdict, whatever stands in it."""
    return attempt.error is None and not ended_by_itself(attempt.finish)
