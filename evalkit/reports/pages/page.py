"""One self-contained HTML page of runs: tables, fronts, the most telling samples, images embedded. To send to someone.

No script, no style sheet, font or image from elsewhere; a policy in its head forbids the browser to load any. Every
text of a run is escaped (`evalkit.reports.markup`), images are decoded and encoded again
(`evalkit.reports.pages.thumbnails`).
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit import __version__
from evalkit.analysis.front_file import read_fronts, stored_standings
from evalkit.analysis.leaderboard import Board, Entry, boards
from evalkit.analysis.standing import place
from evalkit.errors import DataError
from evalkit.files.atomic import write_output
from evalkit.reports.boards import board_html
from evalkit.reports.markup import STYLE, attribute, escaped, legend, marked
from evalkit.reports.pages.thumbnails import picture_to_send
from evalkit.reports.pictures.canvas import SvgCanvas
from evalkit.reports.pictures.fronts import HEIGHT, WIDTH, draw
from evalkit.runs.run import Run, RunSummary
from evalkit.schema import Json, Record

SAMPLES = 12  # telling samples per board
THUMBNAIL = 240  # pixels

_STYLE = (
    """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
.wide { overflow-x: auto; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #8884; vertical-align: top; }
th:first-child, td:first-child { text-align: left; min-width: 7rem; overflow-wrap: anywhere; }
th { white-space: nowrap; }
ul { padding-left: 1.2rem; }
.small { font-size: .82rem; opacity: .75; overflow-wrap: anywhere; }
.hk-limits { font-size: .8rem; opacity: .7; white-space: nowrap; }
td:not(:first-child) .hk-limits { display: block; }
.hk-tag { font-size: .72rem; border: 1px solid; border-radius: 4px; padding: 0 .3rem; }
.hk-tag-flag { border-color: #e53935; background: rgba(229, 57, 53, .22); }
.sample { display: flex; gap: 1.2rem; border-top: 1px solid #8884; padding: 1rem 0; }
.sample > div:first-child { flex: 0 0 15rem; }
.sample > div:last-child { flex: 1; min-width: 0; }
.sample img { width: 100%; border-radius: 6px; }
.front img { max-width: 100%; height: auto; }
.response { border-left: 3px solid #8886; padding-left: .8rem; margin: .6rem 0; }
.flag { color: light-dark(#8e1010, #ff9a92); }
@media (max-width: 40rem) { .sample { flex-direction: column; } }
@page { size: landscape; margin: 12mm; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 13px; }
  table { font-size: .66rem; }
  th, td { padding: .2rem .3rem; }
  th:first-child, td:first-child { min-width: 4rem; }
  .hk-limits { font-size: .54rem; }
  .sample { break-inside: avoid; }
  mark.hk { print-color-adjust: exact; }
}
"""
    + STYLE
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_page(runs: Sequence[Run], path: Path, images: Sequence[Path] = ()) -> str:
    """Write the page; returns a sentence that says where it is, and how many pictures it had to leave out.

    Args:
        images: folders that pictures may be taken from, beside those of the runs.
    Raises:
        RecordError: if the file cannot be written.
    """
    shown = boards(runs)
    pictures = _Pictures([*images, *(run.path for run in runs if run.path)])
    body = "".join(part for board in shown for part in _board_parts(board, pictures))
    page = (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>hallucination report</title><style>{_STYLE}</style></head><body>"
        f"<h1>Hallucination report</h1>{body}"
        f'<p class="small">evalkit {escaped(__version__)}. Values with 95 % intervals; n: samples scored / all; '
        "bold: better than every other run that is not disqualified, after Holm's correction.</p>"
        "</body></html>\n"
    )
    write_output(path, page)
    summary = f"{path}: {len(runs)} run{'s' if len(runs) != 1 else ''}, {path.stat().st_size / 1e6:.1f} MB"
    return summary + left_out(pictures.refused)


def left_out(pictures: int) -> str:
    """What is said of pictures that a page has to do without; nothing where there are none."""
    if not pictures:
        return ""
    return f"; {pictures} picture{'s' if pictures != 1 else ''} left out: name their folder with --images DIR"


class _Pictures:
    """Pictures of a page, from these folders alone; `refused` counts those that were not to be had."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.refused = 0

    def html(self, image: Mapping[str, Json] | None) -> str:
        """The picture of a record, or why it is not there."""
        if image is None:
            return ""
        try:
            data = base64.b64encode(picture_to_send(image, THUMBNAIL, self.folders)).decode("ascii")
        except DataError as error:
            self.refused += 1
            return f'<div class="small">{escaped(error)}</div>'
        name = escaped(image["name"])
        return f'<img alt="" src="data:image/jpeg;base64,{data}"><div class="small">{name}</div>'


def _board_parts(board: Board, pictures: _Pictures) -> Iterator[str]:
    yield f"<h2>{escaped(board.benchmark)}</h2>"
    yield board_html(board, [metric for metric in board.metrics if not metric.detail])
    yield from map(_flags_html, board.entries)
    yield f'<p class="small">{escaped(board.signature)}</p>'
    yield from fronts_html(board.entries)
    chosen = telling(board.entries)
    if chosen:
        labels = {f["label"] for row in chosen for entry in board.entries for f in _findings(_same(entry.run, row))}
        yield f"<h3>Samples</h3><p>{legend(sorted(labels))}</p>"
        yield from (_sample_html(row, board.entries, pictures) for row in chosen)


def _flags_html(entry: Entry) -> str:
    """The flags of a run, the disqualifying ones first; folded where they are many."""
    flags = sorted(entry.flags, key=lambda flag: not flag.disqualifies)
    shown = [f"<li{' class=flag' if flag.disqualifies else ''}>{escaped(flag.text)}</li>" for flag in flags]
    if not shown:
        return ""
    head = f"<summary>! {escaped(entry.label)}: {len(shown)} flag{'s' if len(shown) > 1 else ''}</summary>"
    return f'<details class="small"{"" if len(shown) > 4 else " open"}>{head}<ul>{"".join(shown)}</ul></details>'


def fronts_html(entries: Sequence[Entry]) -> Iterator[str]:
    """The fronts of bases beside which `evalkit front` placed runs, with these runs: a picture and sentences each."""
    runs = {entry.label: entry.run for entry in entries if isinstance(entry.run, Run)}
    bases = {label: {str(standing["base"]) for standing in stored_standings(run)} for label, run in runs.items()}
    for base, own in runs.items():
        beside = {label: run for label, run in runs.items() if label != base and bases[label] & {base, own.label}}
        for front in read_fronts(own) if beside else ():
            placed = place(front, base, beside)
            canvas = SvgCanvas(WIDTH, HEIGHT)
            draw(canvas, front, base, placed)
            data = base64.b64encode(canvas.content()).decode("ascii")
            sentences = "".join(
                f"<li>{escaped(placement.other)}: {escaped(placement.sentence())}</li>" for placement in placed
            )
            yield (
                f'<div class="front"><img alt="the front of {attribute(base)}" width="{WIDTH}" height="{HEIGHT}" '
                f'src="data:image/svg+xml;base64,{data}"><ul>{sentences}</ul></div>'
            )


def telling(entries: Sequence[Entry]) -> list[Record]:
    """Samples worth a look: where the runs' hallucinations differ most, then where there are most of them.

    Runs that are flagged as degenerate are not counted unless all are flagged.
    """
    sound = [entry for entry in entries if not entry.disqualified] or list(entries)
    counts = [{_key(row): _hallucinated(row) for row in _rows(entry.run)} for entry in sound]
    scored = []
    for index, row in enumerate(_rows(sound[0].run)):
        own = [count.get(_key(row), 0) for count in counts]
        if max(own) > 0:
            scored.append((max(own) - min(own), max(own), -index, row))
    scored.sort(key=lambda entry: entry[:3], reverse=True)
    return [row for *_, row in scored[:SAMPLES]]


def _sample_html(row: Record, entries: Sequence[Entry], pictures: _Pictures) -> str:
    responses = []
    for entry in entries:
        own = _same(entry.run, row)
        if own is None:
            continue
        text, failure = own["response"]["text"], own["response"].get("failure") or own["score"].get("failure")
        body = marked(text, _findings(own)) if text is not None else ""
        note = f'<div class="small flag">not scored: {escaped(failure)}</div>' if failure else ""
        verdict = (own.get("verdict") or {}).get("reply")
        judge = f'<div class="small hk-text">judge: {escaped(verdict)}</div>' if verdict else ""
        name = f"<b>{escaped(entry.label)}</b>"
        responses.append(f'<div class="response">{name}<div class="hk-text">{body}</div>{note}{judge}</div>')
    question = (
        f'<div class="small">{escaped(row["id"])}</div><div class="hk-text">{escaped(row.get("prompt", ""))}</div>'
    )
    picture = pictures.html(row.get("image"))
    return f'<div class="sample"><div>{picture}</div><div>{question}{"".join(responses)}</div></div>'


def _rows(run: RunSummary) -> Sequence[Record]:
    return run.rows if isinstance(run, Run) else ()


def _same(run: RunSummary, row: Record) -> Record | None:
    key = _key(row)
    return next((own for own in _rows(run) if _key(own) == key), None)


def _key(row: Record) -> tuple[str, int]:
    return str(row["id"]), int(row.get("sample") or 0)


def _findings(row: Record | None) -> list[Mapping[str, Json]]:
    return list(row["score"].get("findings") or []) if row is not None else []


def _hallucinated(row: Record) -> int:
    """Hallucinated spans; 1 for a response that is counted as hallucinated without any."""
    counts = row["score"]["counts"] or {}
    spans: int = sum(finding["label"] == "hallucinated" for finding in _findings(row))
    return max(spans, int(bool(counts.get("hallucinated_responses"))))
