"""Reading an extractor's reply: the objects that a response names, as a JSON list.

strict  what the authors' script accepts, bugs included: any JSON value at all, else the last line of a reply that
        holds [" ; no code fence, no "()" although the authors' prompt asks for it
safe    one list of strings, wherever it stands in the reply; fences, prose round it, single quotes, a trailing comma
        and "()" are understood; anything else is unreadable, never an empty list
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator

from evalkit.schema import Json

_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)```", re.DOTALL)
_EMPTY = re.compile(r"(?:\[\s*\]|\(\s*\))\.?")
_LIST_KEYS = frozenset({"objects", "object_list", "visible_objects", "list", "result", "results"})


class UnreadableReplyError(ValueError):
    """A reply that does not hold a list of objects; the message says why."""


def read_strict(reply: str) -> Json:
    """The JSON value that the authors' script reads, of whatever type.

    >>> read_strict('Here:\\n["cat"]')
    ['cat']

    Raises:
        UnreadableReplyError: where the script counts a failed attempt.
    """
    candidates = [reply, reply.strip().split("\n")[-1]] if '["' in reply else [reply]
    for text in candidates:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            continue
    raise UnreadableReplyError(f"the reply is not JSON: {reply[:80]!r}")


def strict_names(value: Json) -> list[str]:
    """The phrases that the authors' loop takes from a JSON value: keys of an object, letters of a string.

    Raises:
        TypeError: for a number, true, false or null; it stops the authors' run.
    """
    return [str(element) for element in value]


def read_safe(reply: str) -> list[str]:
    """The object names of a reply; blank names are left out.

    >>> read_safe("Sure!\\n```json\\n['cat', 'dog',]\\n```\\nAnything else?")
    ['cat', 'dog']
    >>> read_safe("()")
    []

    Raises:
        UnreadableReplyError: if there is no list, an unfinished one, different ones, or one that holds other things
            than strings.
    """
    text = reply.strip()
    fenced = _FENCE.findall(text)
    if len(fenced) == 1:
        text = fenced[0].strip()
    if _EMPTY.fullmatch(text):
        return []
    value = _whole(text)
    lists = [value] if value is not None else list(_bracketed(text))
    if not lists:
        raise UnreadableReplyError(f"no list of objects in the reply: {reply[:80]!r}")
    if any(candidate != lists[0] for candidate in lists):
        raise UnreadableReplyError(f"several different lists in the reply: {reply[:80]!r}")
    if not all(isinstance(name, str) for name in lists[0]):
        raise UnreadableReplyError(f"the list holds more than names: {reply[:80]!r}")
    return [name.strip() for name in lists[0] if name.strip()]


def _whole(text: str) -> list[Json] | None:
    """The reply as one JSON value: a list, or an object with a list under a telling key."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        key, content = next(iter(value.items()), (None, None))
        if len(value) == 1 and key in _LIST_KEYS and isinstance(content, list):
            return content
    raise UnreadableReplyError(f"expected a JSON list, got {type(value).__name__}: {text[:80]!r}")


def _bracketed(text: str) -> Iterator[list[Json]]:
    """Every outermost [...] of the text that reads as a list, in JSON or in Python's notation.

    Raises:
        UnreadableReplyError: if a bracket is not closed, or what it holds is not a list.
    """
    position = 0
    while (start := text.find("[", position)) >= 0:
        end = _closing(text, start)
        if end is None:
            raise UnreadableReplyError(f"the list is not finished: {text[start:][:80]!r}")
        yield _list(text[start : end + 1])
        position = end + 1


def _closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` closes; brackets inside quotes do not count."""
    depth, quote, index = 0, "", start
    while index < len(text):
        sign = text[index]
        if quote:
            if sign == "\\":
                index += 1
            elif sign == quote:
                quote = ""
        elif sign == '"' or (sign == "'" and text[:index].rstrip()[-1] in "[,"):
            quote = sign
        elif sign in "[]":
            depth += 1 if sign == "[" else -1
            if depth == 0:
                return index
        index += 1
    return None


def _list(text: str) -> list[Json]:
    for read in (json.loads, _python_list):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
            continue
        if isinstance(value, list):
            return value
    raise UnreadableReplyError(f"this is not a list of names: {text[:80]!r}")


def _python_list(text: str) -> Json:
    """A Python literal; two strings without a comma between them, which Python would glue together, are an error."""
    tree = ast.parse(text, mode="eval")
    literals = sum(token.type == tokenize.STRING for token in tokenize.generate_tokens(io.StringIO(text).readline))
    if literals != sum(isinstance(node, ast.Constant) and isinstance(node.value, str) for node in ast.walk(tree)):
        raise ValueError("strings without a comma between them")
    return ast.literal_eval(tree)
