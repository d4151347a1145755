"""Chat completions on the wire: a prompt as messages, and what came back."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from evalkit.errors import DataError
from evalkit.images import MAX_PIXELS, ImageFile
from evalkit.schema import Json, Prompt


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion as it came."""

    text: str
    finish: str | None
    model: str | None
    tokens_in: int | None
    tokens_out: int | None
    body: Mapping[str, Json]


def read_reply(body: str) -> Reply:
    """Read the body of a chat completion.

    Raises:
        ValueError: if it is not one; the message says what came instead.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = "HTML" if body.lstrip()[:1] == "<" else "broken JSON"
        raise ValueError(f"reply is {kind}, not a chat completion") from error
    if not isinstance(value, dict) or not isinstance(value.get("choices"), list) or not value["choices"]:
        raise ValueError("reply holds no choices")
    choice = value["choices"][0]
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(content, str | None):
        raise ValueError("reply holds no message text")
    usage = value.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model, finish = value.get("model"), choice.get("finish_reason")
    return Reply(
        text=content or "",
        finish=finish if isinstance(finish, str) else None,
        model=model if isinstance(model, str) else None,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        body=value,
    )


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def data_url(image: ImageFile) -> str:
    """The image's own bytes as a data URL, not encoded again.

    Raises:
        DataError: if it is missing or not an image.
    """
    path = image.path
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise DataError(f"image {image.name!r} has more than {MAX_PIXELS:,} pixels")
            kind = Image.MIME.get(opened.format or "", "application/octet-stream")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"image {image.name!r} is not an image: {path}") from error
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def chat_messages(prompt: Prompt) -> list[dict[str, Json]]:
    """The prompt as chat messages: system text, then images and text of one user turn."""
    messages: list[dict[str, Json]] = []
    if prompt.system is not None:
        messages.append({"role": "system", "content": prompt.system})
    if prompt.images:
        parts: list[Json] = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in prompt.images]
        messages.append({"role": "user", "content": [*parts, {"type": "text", "text": prompt.text}]})
    elif prompt.text or prompt.system is None:
        messages.append({"role": "user", "content": prompt.text})
    return messages
