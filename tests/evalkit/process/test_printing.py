"""What reaches a terminal: nothing that it obeys, whatever its encoding."""

import io

import pytest

from evalkit.process.printing import SafeStream, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a dog, 犬, naïve", "a dog, 犬, naïve"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b[2J", r"\u001b[2J"),
        ("a\rb", r"a\u000db"),
        ("\x07\x00\x7f", r"\u0007\u0000\u007f"),
        ("\x9b31m", r"\u009b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028\u200f", r"\u2028\u200f"),
        ("\ud800", r"\ud800"),
    ],
)
def test_characters_that_a_terminal_obeys_are_shown_by_their_number(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_replaced(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    safe = SafeStream(stream)
    assert safe.write("chair_i ↓ 8.4 ± 犬\n") == len("chair_i ↓ 8.4 ± 犬\n")
    safe.flush()
    line = raw.getvalue().decode(encoding)
    assert line.startswith("chair_i ")
    assert line.endswith("\n")
    assert ("↓" in line) == (encoding == "utf-8")
