"""Fields of a chat request: what decoding sets, what a user adds or leaves out, and what a server refuses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.errors import UsageError
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt

DECODING = {
    "temperature": "--temperature",
    "top_p": "--top-p",
    "seed": "--seed",
    "max_tokens": "--max-new-tokens or --judge-max-tokens",
    "max_completion_tokens": "--max-new-tokens or --judge-max-tokens",
    "top_k": "--top-k",
    "repetition_penalty": "--repetition-penalty",
}
_OWN = ("model", "messages", "n", "stream")  # one request is one response, read whole
_REFUSED = re.compile(
    r"not? (be )?(support|permit|allow|accept|recogni|specif)\w*|unsupported|unknown|unrecogni|unexpected|invalid|"
    r"forbidden|deprecated|cannot",
    re.IGNORECASE,
)


def omitted(text: str) -> tuple[str, ...]:
    """Names of fields that a request goes without, from "temperature+top_p" or "temperature, top_p".

    Raises:
        UsageError: if one is not a decoding field.
    """
    names = tuple(dict.fromkeys(name for name in re.split(r"[+,\s]+", text) if name))
    unknown = [name for name in names if name not in DECODING]
    if unknown:
        raise UsageError(f"omit: no field {', '.join(unknown)}; a request can go without {', '.join(DECODING)}")
    return names


def added(extra: Mapping[str, Json] | None, omit: Sequence[str]) -> dict[str, Json]:
    """Further fields of the request, checked.

    Raises:
        UsageError: if one is set by the program already: what the signature says of it would be wrong.
    """
    for name in extra or {}:
        if name in _OWN:
            raise UsageError(f"extra: {name!r} is set by the program")
        if name in DECODING and name not in omit:
            raise UsageError(
                f"extra: {name!r} is a setting of decoding: use {DECODING[name]}, or leave the program's own out with "
                f"omit={name}"
            )
    return dict(extra or {})


def decoding_fields(sampling: Sampling, prompt: Prompt, sample: int, omit: Sequence[str]) -> dict[str, Json]:
    """Decoding settings of one response, as fields of its request but for the limit of tokens."""
    own: dict[str, Json] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed_for(prompt.id, sample),
    }
    later = ("top_k", "repetition_penalty")  # vLLM and its like know them, OpenAI's own models refuse them
    own |= {name: value for name, value in sampling.as_dict().items() if name in later}
    return {name: value for name, value in own.items() if name not in omit}


def refused_field(words: str, names: Iterable[str]) -> str | None:
    r"""The field of a request that a server's error refuses, if it names one.

    >>> refused_field('{"message": "Unsupported value: \'temperature\' does not support 0", "param": "temperature"}',
    ...               ["top_p", "temperature"])
    'temperature'
    >>> refused_field('{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', ["seed"])
    'seed'
    >>> refused_field("the context is too long", ["temperature"])
    """
    if not _REFUSED.search(words):
        return None
    names = [name for name in names if name not in ("model", "messages")]
    quoted = [name for name in names if re.search(rf"[\"'`\\]{re.escape(name)}[\"'`\\]", words)]
    plain = [name for name in names if "_" in name and re.search(rf"\b{re.escape(name)}\b", words)]
    return next(iter(quoted + plain), None)


def remedy(name: str, extra: Mapping[str, Json]) -> str:
    """What to do about a field that a server refuses."""
    if name in extra:
        return f"the server refuses {name!r}, which extra adds"
    return f"a model that refuses {name} is asked without it by omit={name}, in --engine-args or --judge-args"


def renamed(body: Mapping[str, Any], limit_field: str) -> dict[str, Any]:
    """The body with the limit of tokens under the name that the server knows."""
    return {limit_field if name == "max_tokens" else name: value for name, value in body.items()}
