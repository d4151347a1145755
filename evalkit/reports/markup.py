"""Escaped HTML from untrusted text: responses, judge texts, file names. Nothing else may turn them into HTML.

Every character is escaped first; only our own `mark` and `span` elements are added. Control characters, characters
that turn the direction of text and invisible ones are shown by name, so that a text looks like what it is.
"""

import html
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import pairwise

from evalkit.schema import Json

LONGEST = 20_000  # characters shown of one text; what follows is cut and counted
LABELS = ("hallucinated", "correct", "covered", "ignored", "claim")
_KEPT = "\n\t"

STYLE = """
mark.hk { color: inherit; background: none; border-radius: 3px; padding: 0 2px; }
mark.hk-hallucinated { background: rgba(229, 57, 53, .24); border-bottom: 2px solid #e53935; font-weight: 600; }
mark.hk-correct { background: rgba(46, 160, 67, .20); border-bottom: 2px solid #2ea043; }
mark.hk-covered { background: rgba(46, 160, 67, .12); border-bottom: 2px dashed #2ea043; }
mark.hk-ignored { background: rgba(128, 128, 128, .18); border-bottom: 2px dotted #888; }
mark.hk-claim { background: rgba(30, 136, 229, .18); border-bottom: 2px solid #1e88e5; }
mark.hk-other { background: rgba(142, 68, 173, .18); border-bottom: 2px dashed #8e44ad; }
mark.hk-changed { box-shadow: 0 0 0 1.5px #f0a020; }
mark[class="hk hk-changed"] { background: rgba(240, 160, 32, .20); }
span.hk-code { font-family: monospace; font-size: .8em; opacity: .7; border: 1px solid; border-radius: 3px; }
.hk-text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.7; unicode-bidi: plaintext; }
"""


def clean(text: object, limit: int | None = None) -> str:
    """Untrusted text for places that show plain text only: no lone surrogates, no control or direction characters.

    >>> clean("a\\u202eb\\ud800")
    'a�b�'
    """
    shown = str(text)
    if limit is not None and len(shown) > limit:
        shown = shown[: limit - 1] + "…"
    if _plain(shown):
        return shown
    return "".join("�" if _hidden(character) else character for character in shown)


def escaped(text: object) -> str:
    """Text as HTML that shows it character by character.

    >>> escaped('<b title="x">\\u202e')
    '&lt;b title=&quot;x&quot;&gt;<span class="hk-code">U+202E</span>'
    """
    shown = str(text)
    rest = len(shown) - LONGEST
    shown = shown[:LONGEST]
    body = _escaped(shown) if _plain(shown) else "".join(map(_named, shown))
    return body if rest <= 0 else f"{body} <em>(… {rest:,} more characters)</em>"


def attribute(text: object) -> str:
    """Text as the value of a quoted attribute."""
    return _escaped(clean(text))


def marked(
    text: str,
    findings: Iterable[Json],
    changed: Iterable[tuple[int, int]] = (),
    classes: Mapping[str, str] | None = None,
) -> str:
    """A response as HTML: findings coloured by label, spans that differ from another response framed.

    Args:
        findings: rows {"start", "end", "label", "note"}; spans outside of the text are cut to it.
        changed: spans [start, end).
        classes: object that a note begins with -> class of the element, one of our own words; a hallucinated one
            gets none.
    """
    shown = text[:LONGEST]
    spans = [span for span in (_span(finding, len(shown)) for finding in findings) if span[0] < span[1]]
    frames = [(max(0, start), min(end, len(shown))) for start, end in changed if start < len(shown)]
    borders = {0, len(shown)}
    borders.update(place for span in spans for place in span[:2])
    borders.update(place for frame in frames for place in frame)
    parts = []
    for start, end in pairwise(sorted(borders)):
        over = [span for span in spans if span[0] <= start and end <= span[1]]
        framed = any(frame[0] <= start and end <= frame[1] for frame in frames)
        parts.append(_segment(shown[start:end], over, framed, classes or {}))
    return "".join(parts) + (escaped(text)[len(escaped(shown)) :] if len(text) > LONGEST else "")


def legend(labels: Iterable[str], changed: bool = False) -> str:
    """What the colours mean, as HTML, for the labels that occur."""
    names = [f'<mark class="hk {_label_class(label)}">{escaped(label)}</mark>' for label in labels]
    if changed:
        names.append('<mark class="hk hk-changed">differs</mark>')
    return " ".join(names)


def _segment(text: str, over: list[tuple[int, int, str, str]], framed: bool, named: Mapping[str, str]) -> str:
    if not over and not framed:
        return escaped(text)
    over = sorted(over, key=lambda span: LABELS.index(span[2]) if span[2] in LABELS else len(LABELS))
    classes = ["hk"]
    if over:
        classes.append(_label_class(over[0][2]))
    if framed:
        classes.append("hk-changed")
    objects = (note.partition(": ")[0] for *_, label, note in over if label != "hallucinated")  # is nowhere to be seen
    classes += dict.fromkeys(named[name] for name in objects if name in named)
    titles = "; ".join(dict.fromkeys(f"{span[2]}: {span[3]}" if span[3] else span[2] for span in over))
    title = f' title="{attribute(titles)}"' if titles else ""
    return f'<mark class="{" ".join(classes)}"{title}>{escaped(text)}</mark>'


def _span(finding: Mapping[str, Json], length: int) -> tuple[int, int, str, str]:
    start, end = int(finding["start"]), int(finding["end"])
    return max(0, start), min(end, length), str(finding["label"]), str(finding.get("note") or "")


def _label_class(label: str) -> str:
    return f"hk-{label}" if label in LABELS else "hk-other"


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)


def _named(character: str) -> str:
    return f'<span class="hk-code">U+{ord(character):04X}</span>' if _hidden(character) else _escaped(character)


def _plain(text: str) -> bool:
    """Whether there is surely no hidden character in a text; the quick answer for most of them."""
    return text.replace("\n", "").isprintable()


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in _KEPT
