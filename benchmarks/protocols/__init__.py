"""Published protocols as data: image padding, system text, decoding and question of a row in a paper's table."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from evalkit.errors import UsageError

ENGINE = ("image_padding", "system_text", "dtype")
DECODING = ("temperature", "top_p", "top_k", "repetition_penalty", "num_beams", "max_new_tokens", "n")
_WORDS = {
    "image_padding": "image padding {}",
    "system_text": "system text {}",
    "dtype": "weights in {}",
    "temperature": "temperature {:g}",
    "top_p": "nucleus {:g}",
    "top_k": "the {} most likely tokens",
    "repetition_penalty": "repetition penalty {:g}",
    "num_beams": "{} beams",
    "max_new_tokens": "at most {} tokens",
    "n": "{} responses each",
}


@dataclass(frozen=True, slots=True)
class Protocol:
    """A published protocol.

    settings  engine and decoding settings that it fixes
    tasks     benchmark -> what differs there: decoding settings, and options of the benchmark below "set"
    """

    name: str
    about: str
    source: str
    settings: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def engine(self) -> dict[str, str]:
        """Engine settings, as --engine-args would give them."""
        return {name: str(self.settings[name]) for name in ENGINE if name in self.settings}

    def decoding(self, benchmark: str) -> dict[str, Any]:
        """Decoding settings for a benchmark."""
        own = {**self.settings, **self.tasks.get(benchmark, {})}
        return {name: own[name] for name in DECODING if name in own}

    def options(self, benchmark: str) -> dict[str, str]:
        """Options of a benchmark."""
        return dict(self.tasks.get(benchmark, {}).get("set", {}))

    def told(self, benchmarks: list[str]) -> str:
        """What it sets, in words."""
        parts = [_in_words(name, self.settings[name]) for name in (*ENGINE, *DECODING) if name in self.settings]
        for benchmark in benchmarks:
            own = self.tasks.get(benchmark, {})
            changed = [_in_words(name, own[name]) for name in DECODING if name in own]
            changed += [f"{key} {value!r}" for key, value in self.options(benchmark).items()]
            parts += [f"{benchmark}: {', '.join(changed)}"] if changed else []
        return f"protocol {self.name} ({self.about}): {'; '.join(parts)}. Source: {self.source}"


def protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UsageError: if there is none.
    """
    known = protocols()
    if name not in known:
        raise UsageError(f"unknown protocol {name!r}; known: {', '.join(known)}")
    return known[name]


@lru_cache(maxsize=1)
def protocols() -> Mapping[str, Protocol]:
    """Every protocol by name."""
    table = tomllib.loads(files("benchmarks.protocols").joinpath("protocols.toml").read_text("utf-8"))
    return {
        name: Protocol(name, row.pop("about"), row.pop("source"), {k: v for k, v in row.items() if k != "tasks"},
                       row.get("tasks", {}))
        for name, row in table.items()
    }  # fmt: skip


def _in_words(name: str, value: Any) -> str:
    return "no beam search" if (name, value) == ("num_beams", 1) else _WORDS[name].format(value)
