"""One line beside every score: everything that moves it (the habit of sacreBLEU, Post 2018, arXiv:1804.08771).

    chair|data:val2014|variant:pos_lemma|n:500|ids:3f2a9c01|prompts:9be0c7d2|images:77ab01ce|max:512|T:0|v:0.1.0

The short form holds the protocol: two scores whose protocols differ in any field must not be compared. The long form
adds the subject, which is what a comparison is about: the model, its dtype, engine and image processor, its seed and
number of responses per item, the libraries that ran it. Two models have different processors; that does not prevent a
comparison.

A protocol field that one run lacks differs too, with two exceptions: the hash of the image set is unknown where
responses were imported without the images at hand, and the id set stands for it; padding and system text are settings
of LLaVA, and a model of another family has none.

    >>> ours = Signature.parse("chair|ids:3f2a9c01|max:512|T:0")
    >>> theirs = Signature.parse("chair|ids:3f2a9c01|max:64|T:0")
    >>> [str(difference) for difference in differences(ours, theirs)]
    ['max (limit of a response in tokens): 512 against 64']
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.errors import DataError
from evalkit.schema import Json

SUBJECT = "model."  # prefix of the long form's fields about the model under test
UNKNOWN_ALLOWED = ("images", "padding", "system")

MEANINGS = {
    "benchmark": "benchmark",
    "n": "number of items",
    "ids": "hash of the item ids",
    "prompts": "hash of all prompts",
    "images": "hash of the image files",
    "max": "limit of a response in tokens",
    "T": "temperature",
    "top_p": "nucleus mass",
    "beams": "beam search width",
    "top_k": "most likely tokens kept",
    "rep": "repetition penalty",
    "padding": "image padding, crop or pad",
    "system": "hash of the system text before the question",
    "thoughts": "thoughts of a reasoning model, removed or kept",
    "judge": "judge model",
    "nltk": "version of the tokeniser",
    "image_ablation": "what is shown instead of the image",
    "prompt_baseline": "what is added to the question",
    "nltk_data": "language data in place of NLTK's own",
    "v": "evalkit version; `evalkit score` scores stored responses again",
}
_MANIFEST_FIELDS = {
    "n": "items",
    "ids": "ids",
    "prompts": "prompts",
    "images": "images",
    "image_ablation": "image_ablation",
    "prompt_baseline": "prompt_baseline",
}
_DECODING = {
    "max": "max_new_tokens",
    "T": "temperature",
    "top_p": "top_p",
    "beams": "num_beams",
    "top_k": "top_k",
    "rep": "repetition_penalty",
}
_SERVED_NAMES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens"}
SERVERS = "server"  # value of a setting that the server chose
_INPUTS = {"padding": "image_padding", "system": "system_text"}  # settings of the model that belong to the protocol
_PROTOCOL_SAMPLING = {*_DECODING.values()}
LANGUAGE_DATA = "nltk_data"
_SCORING_LIBRARIES = ("nltk", LANGUAGE_DATA)
_JUDGE_PLUMBING = {
    *("engine", "base_url", "dtype", "device", "batch_size", "shared_prefixes", "versions", "retries"),
    "image_processor",
}
JUDGE_TEXTS = "texts"  # hash of what a judge wrote elsewhere: as much a run's own as its responses


@dataclass(frozen=True)
class Signature:
    """What a score depends on, as ordered texts.

    benchmark  name of the benchmark
    protocol   fields that forbid a comparison where they differ
    subject    facts about the model under test; shown, never an obstacle
    """

    benchmark: str
    protocol: Mapping[str, str] = field(default_factory=dict)
    subject: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Json]) -> "Signature":
        """The signature of a run, from the content of its `run.json`.

        Raises:
            DataError: if the manifest names no benchmark.
        """
        if not manifest.get("benchmark"):
            raise DataError("a signature needs the name of the benchmark; the manifest has no 'benchmark'")
        name = str(manifest["benchmark"])
        return cls(name, _protocol(name, manifest), _subject(manifest))

    @classmethod
    def parse(cls, text: str) -> "Signature":
        """Read a signature back, short form or long.

        Raises:
            DataError: if a part is not "name:value", or a name comes twice.
        """
        benchmark, *parts = text.rstrip("\n").split("|")
        fields: dict[str, str] = {}
        for part in parts:
            name, colon, value = part.partition(":")
            if not colon or not name or name in fields:
                raise DataError(f"signature {text!r}: expected name:value once per name, got {part!r}")
            fields[_plain(name)] = _plain(value)
        subject = {name.removeprefix(SUBJECT): value for name, value in fields.items() if name.startswith(SUBJECT)}
        protocol = {name: value for name, value in fields.items() if not name.startswith(SUBJECT)}
        if not benchmark or ":" in benchmark:
            raise DataError(f"signature {text!r}: expected the name of a benchmark first")
        return cls(_plain(benchmark), protocol, subject)

    def short(self) -> str:
        """The protocol in one line."""
        return _line(self.benchmark, self.protocol)

    def long(self) -> str:
        """Protocol and subject in one line."""
        return _line(self.benchmark, {**self.protocol, **{SUBJECT + key: text for key, text in self.subject.items()}})

    def __str__(self) -> str:
        return self.short()


@dataclass(frozen=True, slots=True)
class Difference:
    """A protocol field that two signatures do not share; None where one lacks it."""

    field: str
    first: str | None
    second: str | None

    def __str__(self) -> str:
        meaning = MEANINGS.get(self.field)
        shown = f"{self.field} ({meaning})" if meaning and meaning != self.field else self.field
        return f"{shown}: {self.first or 'absent'} against {self.second or 'absent'}"


def differences(first: Signature, second: Signature) -> list[Difference]:
    """Protocol fields in which two signatures differ, in the order of the first one's fields."""
    differing = []
    if first.benchmark != second.benchmark:
        differing.append(Difference("benchmark", first.benchmark, second.benchmark))
    for name in {**first.protocol, **second.protocol}:
        ours, theirs = first.protocol.get(name), second.protocol.get(name)
        if ours != theirs and not (name in UNKNOWN_ALLOWED and None in (ours, theirs)):
            differing.append(Difference(name, ours, theirs))
    return differing


def _protocol(benchmark: str, manifest: Mapping[str, Json]) -> dict[str, str]:
    sampling = manifest.get("sampling") or {}
    own: dict[str, Json] = {short: manifest.get(name) for short, name in _MANIFEST_FIELDS.items()}
    own |= {short: sampling.get(name) for short, name in _DECODING.items()}
    own |= _left_to_the_server(manifest)
    own |= {short: (manifest.get("model") or {}).get(name) for short, name in _INPUTS.items()}
    own["thoughts"] = manifest.get("thoughts")
    own |= _judge(manifest.get("judge") or {})
    own |= {name: (manifest.get("versions") or {}).get(name) for name in _SCORING_LIBRARIES}
    own["v"] = manifest.get("evalkit")
    settings = manifest.get("settings") or {}
    renamed = {(f"{benchmark}.{name}" if name in own else name): value for name, value in settings.items()}
    return _texts({**renamed, **own})


def _left_to_the_server(manifest: Mapping[str, Json]) -> dict[str, Json]:
    """Decoding settings that requests went without: what the sampling says of them is not what happened."""
    fields = str((manifest.get("model") or {}).get("omit") or "").split("+")
    names = {_SERVED_NAMES.get(name, name) for name in fields}
    return {short: SERVERS for short, name in _DECODING.items() if name in names}


def _judge(judge: Mapping[str, Json]) -> dict[str, Json]:
    """Judge model, prompt, parser and decoding; where it runs is left out."""
    kept = {name: value for name, value in judge.items() if name not in _JUDGE_PLUMBING and name != JUDGE_TEXTS}
    return {("judge" if name == "model" else f"judge.{name}"): value for name, value in kept.items()}


def _subject(manifest: Mapping[str, Json]) -> dict[str, str]:
    model = {name: v for name, v in (manifest.get("model") or {}).items() if name not in _INPUTS.values()}
    sampling = {
        name: value for name, value in (manifest.get("sampling") or {}).items() if name not in _PROTOCOL_SAMPLING
    }
    versions = {
        name: value for name, value in (manifest.get("versions") or {}).items() if name not in _SCORING_LIBRARIES
    }
    name = model.pop("model", None) or manifest.get("label")
    named = (manifest.get("judge") or {}).get(JUDGE_TEXTS)
    return _texts({**model, **sampling, **versions, "name": name, f"judge.{JUDGE_TEXTS}": named})


def _texts(values: Mapping[str, Json], prefix: str = "") -> dict[str, str]:
    """Leaves as short texts, nested names joined by dots; None is left out, a list becomes a hash."""
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts |= _texts(value, f"{prefix}{name}.")
        elif value is not None:
            texts[f"{prefix}{name}"] = _text(value)
    return texts


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _line(benchmark: str, fields: Mapping[str, str]) -> str:
    parts = [f"{_escaped(name).replace(':', '%3A')}:{_escaped(value)}" for name, value in fields.items()]
    return "|".join([_escaped(benchmark).replace(":", "%3A"), *parts])


_ESCAPES = {"%": "%25", "|": "%7C", "\n": "%0A", "\r": "%0D", "\t": "%09"}


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _plain(text: str) -> str:
    for character, code in reversed([*_ESCAPES.items(), (":", "%3A")]):
        if code != "%25":
            text = text.replace(code, character)
    return text.replace("%25", "%")
