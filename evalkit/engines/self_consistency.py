"""Self-consistency of mentions: of a sampled response, the sentences whose nouns most of n samples name too.

Samples that look agree on what is there; what is made up differs from draw to draw. Agreement of sampled answers picks
the answer in Wang et al. 2022 (arXiv:2203.11171) and finds unsupported sentences in SelfCheckGPT (Manakul et al. 2023,
arXiv:2303.08896). Here it is a decode-time method for a comparison, like best of N (`aligners.best_of_n`):

    evalkit run --engine evalkit.engines.self_consistency:self_consistency --model M --engine-args n=5,agreement=0.5 ...

Kept      sentences of the first sample all of whose nouns occur in more than `agreement` of the samples; nothing is
          reworded. A sentence without nouns stays, so an answer "Yes" is the first sample's. Where nothing is
          supported the response is empty, which the checks of a run and the front of its base account for
Nouns     lemmas of the words that are tagged as nouns, of whatever kind; no list of a benchmark's objects is used
Cost      n responses per response
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evalkit.engines.base import Engine
from evalkit.engines.drawing import DrawingEngine
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import UsageError
from evalkit.schema import Json, Prompt, Response
from evalkit.text import lemma, read_words, tag
from evalkit.text.cuts import sentence_ends


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfConsistency:
    """How samples are drawn, and how many must agree.

    n                    samples per response
    agreement            a noun is supported if more than this share of the samples names it; 0.5 is a majority
    temperature, top_p   of the samples, in place of the benchmark's (mostly greedy) protocol
    """

    n: int = 5
    agreement: float = 0.5
    temperature: float = 0.7
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 2 or self.temperature <= 0 or not 0 <= self.agreement < 1:
            raise UsageError(
                "self-consistency needs at least 2 samples, a temperature above 0 and an agreement in [0, 1); "
                f"got {self.n}, {self.temperature:g}, {self.agreement:g}"
            )


def nouns_of(text: str) -> set[str]:
    """Lemmas of the nouns of a text, lower case.

    Raises:
        AssetError: if NLTK's data is not installed.
    """
    words = read_words(text).texts
    tagged = zip(words, tag(words), strict=True)
    return {lemma(word.lower()) for word, part_of_speech in tagged if part_of_speech.startswith("NN")}


def supported_part(texts: Sequence[str], agreement: float) -> str:
    """The sentences of the first text whose nouns occur in more than a share of the texts, unchanged and in order."""
    support = Counter(noun for text in texts for noun in nouns_of(text))
    text, kept, start = texts[0], [], 0
    for end in sentence_ends(text):
        sentence = text[start:end]
        if all(support[noun] > agreement * len(texts) for noun in nouns_of(sentence)):
            kept.append(sentence)
        start = end
    return text if len("".join(kept)) == len(text) else "".join(kept).strip()


class SelfConsistencyEngine(DrawingEngine):
    """Keeps of the first sample what most samples name; a prompt fails if all of its samples failed.

    Args:
        engine: draws the samples.
        settings: see `SelfConsistency`.
    """

    def __init__(self, engine: Engine, settings: SelfConsistency | None = None) -> None:
        self.settings = settings or SelfConsistency()
        super().__init__(engine, self.settings.n, self.settings.temperature, self.settings.top_p)
        self.name = f"{engine.name}, consistent in {self.settings.n}"

    def describe(self) -> Mapping[str, Json]:
        """The sampled engine's description with the settings under "self_consistency"."""
        return {**self._engine.describe(), "self_consistency": asdict(self.settings)}

    def combined(self, groups: Sequence[tuple[Prompt, Sequence[Response]]]) -> Iterator[Response]:
        """The supported part of each group's first sample; failed samples do not vote."""
        for _, samples in groups:
            answered = [response for response in samples if response.text is not None]
            if not answered:
                yield samples[0]
                continue
            first = answered[0]
            text = supported_part([response.text or "" for response in answered], self.settings.agreement)
            yield first if text == first.text else replace(first, text=text, token_ids=None, tokens=None)


def self_consistency(
    model: str | Path,
    *,
    n: int = 5,
    agreement: float = 0.5,
    temperature: float = 0.7,
    top_p: float = 1.0,
    batch_size: int = 8,
    dtype: str = "auto",
    device: str | None = None,
    revision: str | None = None,
    adapter: Path | None = None,
) -> SelfConsistencyEngine:
    """Self-consistency of mentions on transformers.

    Args:
        model: checkpoint folder or hub id.
        n, agreement, temperature, top_p: see `SelfConsistency`.
        batch_size, dtype, device, revision, adapter: of `TransformersEngine`.
    Raises:
        EngineError: if the checkpoint cannot be loaded.
        UsageError: if a setting is out of range.
    """
    settings = SelfConsistency(n=n, agreement=agreement, temperature=temperature, top_p=top_p)
    engine = TransformersEngine(
        model, batch_size=batch_size, dtype=dtype, device=device, revision=revision, adapter=adapter
    )
    return SelfConsistencyEngine(engine, settings)
