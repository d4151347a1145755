"""A judge that asks nobody: its texts were written elsewhere."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.benchmark import Benchmark, Judged, JudgeRound
from evalkit.engines.served.completions import Attempt
from evalkit.engines.texts import TextEngine
from evalkit.errors import EngineError
from evalkit.formats.judge_texts import Key, read_judge_texts
from evalkit.harness.judge import Asking, Judge, JudgeRequest, SampleKey, Verdict, VerdictJournal, verdict_key
from evalkit.process.progress import Progress, silent
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response


class _Nobody(TextEngine):
    """Stands where a judge's engine stands; it is never asked."""

    name = "told"

    def __init__(self, model: str, digest: str) -> None:
        self._model, self._digest = model, digest

    def describe(self) -> Mapping[str, Json]:
        """Who is said to have written the texts, and a hash of them."""
        return {"engine": self.name, "model": self._model, "texts": self._digest}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """Nothing can be asked.

        Raises:
            EngineError: always.
        """
        raise EngineError("texts of a judge were given, so no judge is asked")


class ToldJudge(Judge):
    """Verdicts out of given texts; an item without one is a failure of the judge.

    Args:
        texts: round, item id and sample -> text.
        model: name of the judge that wrote them.
    """

    def __init__(self, texts: Mapping[Key, str], model: str = "not stated") -> None:
        content = "\n".join(f"{key}\t{text}" for key, text in sorted(texts.items()))
        digest = hashlib.sha256(content.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]
        super().__init__(_Nobody(model, digest), retries=0)
        self.texts = dict(texts)

    def rule(
        self,
        requests: Sequence[JudgeRequest],
        asking: Asking,
        journal: VerdictJournal,
        progress: Progress = silent,
    ) -> dict[SampleKey, Mapping[str, Json]]:
        """The given texts as rows of the journal."""
        name = asking.name if isinstance(asking, JudgeRound) else ""
        sampling = asking.judge_sampling()
        kept = {(row.get("id"), row.get("sample"), row.get("key")) for row in journal.rows}
        rows: dict[SampleKey, Mapping[str, Json]] = {}
        for request in requests:
            text = self.texts.get((name, request.id, request.sample))
            key = verdict_key(self._identity, request.prompt, sampling)
            failure = None if text is not None else "no text of the judge was given"
            unreadable = asking.check_reply(text) if text is not None else None
            attempts = (Attempt(raw=text),) if text is not None else ()
            row = Verdict(request.id, request.sample, key, text, unreadable, failure, attempts).as_row()
            if (request.id, request.sample, key) not in kept:
                journal.append(row)
            rows[request.id, request.sample] = row
            progress("verdicts", len(rows), len(requests))
        return rows


def told_judge(benchmark: Benchmark, paths: Sequence[Path], model: str = "not stated") -> ToldJudge:
    """A judge of the texts in some files.

    Raises:
        DataError: if a file cannot be read or does not fit the benchmark's items.
    """
    rounds = [further.name for further in benchmark.further_rounds()] if isinstance(benchmark, Judged) else []
    return ToldJudge(read_judge_texts(paths, benchmark.items(), rounds), model)
