"""An engine that answers from a saved run or a file of responses, joined by id or content; and one that is scripted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.engines.texts import TextEngine
from evalkit.errors import DataError
from evalkit.formats.answers import Answer, Format
from evalkit.formats.importers import AUTO, read_answers
from evalkit.formats.joining import Join, join_answers
from evalkit.runs.records import MANIFEST, read_manifest
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Response


class ReplayEngine(TextEngine):
    """The responses of a run directory or of a file made elsewhere.

    A prompt without a stored response is a failed response, so that a file that covers a part can be replayed; answers
    that fit no prompt or fit one twice are errors, for then the file belongs to something else.

    Args:
        path: a run directory, or a file in one of the known formats.
        format_name: see `formats.answers.FORMATS`.
        formats: those of benchmarks' own, beside the general ones.
    """

    name = "replay"

    def __init__(self, path: Path, format_name: str = AUTO, formats: Sequence[Format] = ()) -> None:
        self.path = path
        self._answers: list[Answer] = read_answers(path, format_name, formats)

    def describe(self) -> Mapping[str, Json]:
        """The model of the replayed run, or the file's name; where the answers came from."""
        if self.path.is_dir() and (self.path / MANIFEST).exists():
            manifest = read_manifest(self.path)
            return {"engine": self.name, "model": manifest.get("label"), "replayed": manifest.get("model")}
        return {"engine": self.name, "model": self.path.stem, "replayed": self.path.name}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """See `Engine.generate`.

        Raises:
            DataError: if answers fit two prompts, or one prompt has two.
        """
        self._stopping = False
        joined = self._join(prompts)
        for prompt in prompts:
            for sample in range(sampling.n):
                if self._stopping:
                    return
                absent = Response(prompt.id, None, sample, failure=f"no response in {self.path.name}")
                yield joined.responses.get((prompt.id, sample), absent)

    def _join(self, prompts: Sequence[Prompt]) -> Join:
        """Answers that match none of these prompts are no errors here: a resumed run asks for what is left only."""
        items = [Item(prompt.id, prompt.text, prompt.images[0] if prompt.images else None, {}) for prompt in prompts]
        joined = join_answers([(self.path, answer) for answer in self._answers], items)
        if joined.duplicates:
            raise DataError(f"{self.path}: answered twice: {'; '.join(joined.duplicates[:5])}")
        ambiguous = [reason for reason in joined.unmatched if " fits " in reason]
        if ambiguous:
            raise DataError(f"{self.path}: {'; '.join(ambiguous[:5])}")
        if prompts and not joined.responses:
            raise DataError(f"{self.path}: none of its answers fits; e.g. {joined.unmatched[0]}")
        return joined


class ScriptedEngine(TextEngine):
    """Says what a function of the prompt says: a text, or None for a failure. For tests.

    Args:
        say: (prompt, sample) -> text or None.
        model: its name in manifests.
    """

    name = "scripted"

    def __init__(self, say: Callable[[Prompt, int], str | None], model: str = "scripted") -> None:
        self._say, self._model = say, model
        self.asked: list[tuple[str, int]] = []

    def describe(self) -> Mapping[str, Json]:
        """Engine and name."""
        return {"engine": self.name, "model": self._model}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """See `Engine.generate`."""
        self._stopping = False
        for prompt in prompts:
            for sample in range(sampling.n):
                if self._stopping:
                    return
                self.asked.append((prompt.id, sample))
                text = self._say(prompt, sample)
                failure = "scripted failure" if text is None else None
                yield Response(prompt.id, text, sample, None if failure else "stop", failure=failure)


class StoredResponses(TextEngine):
    """An engine that hands out responses it was given."""

    name = "stored"

    def __init__(self, responses: Sequence[Response], model: Mapping[str, Json]) -> None:
        self._responses = {(response.prompt_id, response.sample): response for response in responses}
        self._model = dict(model)

    def describe(self) -> Mapping[str, Json]:
        """The model that made the responses."""
        return self._model

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """The stored responses to these prompts; what is not there is not handed out."""
        for prompt in prompts:
            for sample in range(sampling.n):
                if (prompt.id, sample) in self._responses:
                    yield self._responses[prompt.id, sample]
