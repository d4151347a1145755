"""Chat completions on the wire: a prompt as messages, and what came back."""

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from evalkit.images import ImageFile
from evalkit.schema import Json, Prompt, Turn

MOST_TOKENS = 100_000_000  # of one call; a server that reports more is not believed


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion as it came; `tokens_cached`: those of the prompt that the server had read before."""

    text: str
    finish: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    body: Mapping[str, Json]
    tokens_cached: int | None = None


class ServerError(ValueError):
    """A body that reports an error under HTTP 200; `status` and `codes` are those it names, if any."""

    def __init__(self, words: str, status: int | None, codes: Collection[str] = ()) -> None:
        super().__init__(words)
        self.status, self.codes = status, frozenset(codes)


def read_reply(body: str) -> Reply:
    """Read the body of a chat completion.

    Raises:
        ServerError: if it is a report of an error, in the server's words.
        ValueError: if it is anything else; the message says what came instead.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = "HTML" if body.lstrip()[:1] == "<" else "broken JSON"
        raise ValueError(f"reply is {kind}, not a chat completion") from error
    if not isinstance(value, dict) or not isinstance(value.get("choices"), list) or not value["choices"]:
        if isinstance(value, dict) and (words := _error_words(value)):
            raise ServerError(*words)
        raise ValueError("reply holds no choices")
    choice = value["choices"][0]
    message = choice.get("message") if isinstance(choice, dict) else None
    broken = next((part for part in (choice, message, value) if isinstance(part, dict) and part.get("error")), None)
    if broken is not None and (words := _error_words(broken)):  # generation broke off: what came is not a response
        raise ServerError(*words)
    if not isinstance(message, dict):
        raise ValueError("reply holds no message text")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model, finish = value.get("model"), choice.get("finish_reason")
    return Reply(
        text=_text(message),
        finish=finish if isinstance(finish, str) and finish else None,
        model=model if isinstance(model, str) else None,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        body=value,
        tokens_cached=_cached(usage),
    )


def _cached(usage: Mapping[str, Json]) -> int | None:
    """Tokens of the prompt from the server's prefix cache; None if it does not tell."""
    details = usage.get("prompt_tokens_details")
    return _count(details.get("cached_tokens")) if isinstance(details, dict) else None


def _text(message: Mapping[str, Json]) -> str:
    """The text of a message: a text, or a list of parts of which those of kind text count.

    Raises:
        ValueError: if it is anything else.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        refusal = message.get("refusal")
        return content or (refusal if isinstance(refusal, str) else "")
    parts = content if isinstance(content, list) else [content]
    texts = [part if isinstance(part, str) else _part(part) for part in parts]
    if any(text is None for text in texts):
        raise ValueError("reply holds no message text")
    return "".join(text for text in texts if text)


def _part(part: Json) -> str | None:
    """The text of a part; empty for one that holds thoughts, None for anything else."""
    if not isinstance(part, dict):
        return None
    if part.get("type") in ("thinking", "reasoning", "redacted_thinking"):
        return ""
    text = next((part[name] for name in ("text", "content", "refusal") if part.get(name) is not None), None)
    if isinstance(text, dict):  # {"type": "text", "text": {"value": "..."}}
        text = text.get("value")
    return text if isinstance(text, str) else None


def _error_words(value: Mapping[str, Json]) -> tuple[str, int | None, list[str]] | None:
    """What a body says went wrong, the HTTP status and the codes that it names."""
    error = next((value[name] for name in ("error", "errors", "detail", "message") if value.get(name)), None)
    if isinstance(error, list):
        error = error[0]
    if not error:
        return None
    message = error.get("message", error) if isinstance(error, dict) else error
    fields = ("code", "status", "status_code", "type")
    named = [str(part[name]) for part in (error, value) if isinstance(part, dict) for name in fields if part.get(name)]
    status = next((int(code) for code in named if code.isdecimal() and 400 <= int(code) < 600), None)
    return f"the server says: {' '.join(str(message).split())[:300]}", status, named


def _count(value: Json) -> int | None:
    """A number of tokens; None where none is told, or one beyond belief."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None


def data_url(image: ImageFile) -> str:
    """The image as a data URL: its own bytes where every server shows them upright, else encoded again.

    Raises:
        DataError: if it is missing or not an image.
    """
    kind, data = image.for_server()
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def chat_messages(prompt: Prompt) -> list[dict[str, Json]]:
    """The prompt as chat messages: system text, the conversation so far, its question; images begin the first turn."""
    messages: list[dict[str, Json]] = []
    if prompt.system is not None:
        messages.append({"role": "system", "content": prompt.system})
    said = [*prompt.turns, Turn("user", prompt.text)] if prompt.text or not prompt.turns else prompt.turns
    images: list[Json] = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in prompt.images]
    for number, turn in enumerate(said):
        if images and number == 0:
            messages.append({"role": turn.role, "content": [*images, {"type": "text", "text": turn.text}]})
        elif turn.text or prompt.system is None:
            messages.append({"role": turn.role, "content": turn.text})
    return messages
