"""Thoughts of a reasoning model, taken off before anything reads the answer.

A reasoning model writes its deliberation into the response, between marks of its family; what it weighs there and drops
again ("is that a dog? no") is not what it tells the user. `take_off` separates the two:

    <think>Is that a dog?</think>A cat.   ->  "A cat."
    Is that a dog?</think>A cat.          ->  "A cat."      the prompt's template had opened the thought
    <think>Is that a dog                  ->  no answer     the thought is unfinished: a failed response
    <think>A cat.</think>                 ->  no answer     nothing follows the thought: a failed response

A thought without its opening mark that is cut looks like an answer. `Thoughts.read_all` tells it by the other responses
of the same run: where they close thoughts that they did not open, a cut response without any mark is unfinished too.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evalkit.errors import UsageError

TAGS = (
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reason",
    "seed:think",
    "longcat_think",
)  # <tag> ... </tag>, any case
KEPT = "kept"
REMOVED = "removed"

# marks of families that are not <tag> and </tag>; removed with the standard tags
_OTHER_MARKS = (
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|start_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
)
_AFTER_CHANNELS = re.compile(r"^\s*(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>")
_NAME = re.compile(r"[A-Za-z][\w:.-]*")
_ANSWER = re.compile(
    r"^\s*(?:<answer>|<\|START_RESPONSE\|>|<\|begin_of_box\|>)(.*?)"
    r"(?:(?:</answer>|<\|END_RESPONSE\|>|<\|end_of_box\|>)\s*)?$",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A response without its thoughts; exactly one of `answer` and `failure` is set.

    had_thought  whether anything was taken off, or would have been
    """

    answer: str | None
    failure: str | None = None
    had_thought: bool = False


@dataclass(frozen=True, slots=True)
class Thoughts:
    """Which thoughts are taken off.

    tags  names of the elements that hold thoughts; none: responses are read as they are
    """

    tags: tuple[str, ...] = TAGS

    def __post_init__(self) -> None:
        wrong = [tag for tag in self.tags if not _NAME.fullmatch(tag)]
        if wrong:
            raise UsageError(f"--thoughts: {wrong[0]!r} is not the name of a tag; write think for <think> ... </think>")

    @classmethod
    def parse(cls, text: str) -> "Thoughts":
        """From a command line: "removed" (the known tags), "kept", or names of tags separated by commas; or a `name`.

        Raises:
            UsageError: if a name cannot be one of a tag.
        """
        if text in (REMOVED, KEPT):
            return cls() if text == REMOVED else cls(())
        if text.startswith(f"{REMOVED}(") and text.endswith(")"):
            text = text[len(REMOVED) + 1 : -1].replace("+", ",")
        names = tuple(dict.fromkeys(part.strip().strip("<>/") for part in text.split(",") if part.strip()))
        if not names:
            raise UsageError(
                f"--thoughts {text!r}: expected {REMOVED}, {KEPT}, or names of tags such as think,reasoning"
            )
        return cls(names)

    @property
    def name(self) -> str:
        """Short form for the signature."""
        if not self.tags:
            return KEPT
        return REMOVED if self.tags == TAGS else f"{REMOVED}({'+'.join(self.tags)})"

    def take_off(self, text: str) -> Spoken:
        """The answer in a response, or why there is none.

        >>> Thoughts().take_off("<think>A dog? No.</think>\\n\\nA cat.").answer
        'A cat.'
        >>> Thoughts().take_off("<think>A dog? Wait").failure
        'unfinished thought (<think> is never closed)'
        """
        if not self.tags or not _may_hold_marks(text):
            return Spoken(text)
        opening, closing = self._marks()
        kept, depth, at, had, opened = [], 0, 0, False, ""
        for match in re.finditer(f"(?P<open>{opening})|(?P<close>{closing})", text, re.IGNORECASE):
            had = True
            if match["open"] is not None:
                if depth == 0:
                    kept.append(text[at : match.start()])
                    opened = match["open"]
                depth += 1
            elif depth > 0:
                depth -= 1
            else:
                kept.clear()  # closed without having been opened: all before it is the thought
            at = match.end()
        if not had:
            return Spoken(text)
        if depth > 0:
            return Spoken(None, f"unfinished thought ({opened.strip()} is never closed)", True)
        answer = _unwrapped("".join([*kept, text[at:]]))
        return Spoken(answer, None, True) if answer else Spoken(None, "a thought without an answer after it", True)

    def read_all(self, responses: Sequence[tuple[str | None, str | None]]) -> list[Spoken | None]:
        """`take_off` of the responses of one run.

        Args:
            responses: (text, finish) of each; the text is None where the response failed.
        Returns:
            In the same order; None where there is no text.
        """
        spoken = [None if text is None else self.take_off(text) for text, _ in responses]
        closes = any(
            one is not None and one.had_thought and text is not None and self._opens_outside(text)
            for one, (text, _) in zip(spoken, responses, strict=True)
        )
        if not closes:
            return spoken
        return [
            Spoken(None, "unfinished thought (cut at the token limit before it was closed)", True)
            if one is not None and not one.had_thought and finish in ("length", "max_tokens")
            else one
            for one, (_, finish) in zip(spoken, responses, strict=True)
        ]

    def _opens_outside(self, text: str) -> bool:
        """Whether a thought is closed that the response itself did not open."""
        opening, closing = self._marks()
        first = re.search(f"(?P<open>{opening})|(?P<close>{closing})", text, re.IGNORECASE)
        return first is not None and first["close"] is not None

    def _marks(self) -> tuple[str, str]:
        """Patterns of the opening and of the closing marks."""
        names = "|".join(re.escape(tag) for tag in self.tags)
        others = _OTHER_MARKS if self.tags == TAGS else ()
        opening = [rf"<(?:{names})(?:\s[^<>]*)?>", *(re.escape(begin) for begin, _ in others)]
        closing = [rf"</(?:{names})\s*>", *(re.escape(end) for _, end in others)]
        return "|".join(opening), "|".join(closing)


STANDARD = Thoughts()


def answers(texts: Iterable[str], thoughts: Thoughts = STANDARD) -> list[Spoken]:
    """`Thoughts.take_off` of several texts."""
    return [thoughts.take_off(text) for text in texts]


def _may_hold_marks(text: str) -> bool:
    return "<" in text or "[" in text or "◁" in text


def _unwrapped(rest: str) -> str:
    """What remains, without the wrapper that belongs to the marks: <answer>, a final channel."""
    rest = _AFTER_CHANNELS.sub("", rest).removesuffix("<|return|>")
    wrapped = _ANSWER.match(rest)
    return (wrapped[1] if wrapped else rest).strip()
