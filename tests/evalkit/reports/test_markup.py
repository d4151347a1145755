"""Escaped HTML: nothing of a text gets through as markup; marks stand where findings say."""

import html
import re

import pytest
from hostile_runs import PAYLOADS
from hypothesis import given
from hypothesis import strategies as st

from evalkit.reports.markup import LONGEST, attribute, clean, escaped, legend, marked

OURS = re.compile(r'</?(mark|span|em)( (class|title)="[^"<>]*")*>')


def finding(start, end, label="hallucinated", note=""):
    return {"start": start, "end": end, "label": label, "note": note}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_becomes_text(payload):
    shown = marked(payload, [finding(1, 4, payload, payload), finding(0, 10**9, note=payload)], [(0, 2)])
    rest = OURS.sub("", shown)
    assert "<" not in rest
    assert ">" not in rest
    shown.encode("utf-8")


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70)), max_size=4))
def test_the_text_can_be_read_back_from_its_marks(text, spans):
    shown = marked(text, [finding(start, end) for start, end in spans], spans)
    named = re.compile(r'<span class="hk-code">U\+([0-9A-F]{4,6})</span>')
    body = OURS.sub("", named.sub(lambda code: html.escape(chr(int(code[1], 16))), shown))
    assert html.unescape(body) == text or "\r" in text or "\x00" in text  # HTML has no way to write these two


def test_a_mark_stands_where_its_finding_says():
    shown = marked("A dog and a cat.", [finding(2, 5, "correct", "dog"), finding(12, 15, note="cat")])
    assert '<mark class="hk hk-correct" title="correct: dog">dog</mark>' in shown
    assert '<mark class="hk hk-hallucinated" title="hallucinated: cat">cat</mark>' in shown


def test_hallucinated_wins_over_other_labels_on_the_same_words():
    assert 'class="hk hk-hallucinated"' in marked("dog", [finding(0, 3, "correct"), finding(0, 3)])


def test_a_label_of_a_later_benchmark_gets_a_colour_too():
    assert "hk-other" in marked("dog", [finding(0, 3, "speculative")])
    assert "speculative" in legend(["speculative"])


def test_a_long_text_is_cut_and_counted():
    assert "5 more characters" in escaped("a" * (LONGEST + 5))
    assert "5 more characters" in marked("a" * (LONGEST + 5), [finding(0, 3)])


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\x00", "\x1b", "\ud800", "\u2028", "\ufeff"])
def test_hidden_characters_are_named(hidden):
    assert f"U+{ord(hidden):04X}" in escaped(hidden)
    assert clean(hidden) == "�"
    assert attribute(f'"{hidden}') == "&quot;�"


def test_a_hallucinated_mention_lights_no_box():
    findings = [
        {"start": 2, "end": 5, "label": "correct", "note": "dog"},
        {"start": 12, "end": 15, "label": "hallucinated", "note": "dog"},
    ]
    shown = marked("a dog and a dog", findings, classes={"dog": "hk-o0"})
    assert shown.count("hk-o0") == 1
    assert 'class="hk hk-hallucinated"' in shown
