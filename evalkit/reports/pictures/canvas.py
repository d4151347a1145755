"""Drawing lines, areas, dots and texts as SVG or as PNG, from the same calls.

Coordinates are points of a picture of a given size, the origin at the top left.
"""

import io
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Literal, Protocol

from PIL import Image, ImageColor, ImageDraw, ImageFont

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
PIXELS = 2  # of a PNG per point
SCALE = 4  # it is drawn larger and reduced: smooth edges
DASH = (5.0, 4.0)


class Canvas(Protocol):
    """What a picture is drawn on."""

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, dashed: bool = False) -> None:
        """An open line."""

    def area(self, points: Sequence[Point], colour: str, opacity: float) -> None:
        """A filled polygon."""

    def dot(self, centre: Point, radius: float, colour: str, filled: bool = True) -> None:
        """A disc, or a ring."""

    def text(self, place: Point, text: str, size: float, colour: str = "#222222", anchor: Anchor = "start") -> None:
        """A line of text whose baseline begins, is centred or ends at a place."""

    def content(self) -> bytes:
        """The file."""


class SvgCanvas:
    """An SVG without scripts, styles or links."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._parts: list[str] = []

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, dashed: bool = False) -> None:
        """See `Canvas`."""
        dash = f' stroke-dasharray="{DASH[0]:g} {DASH[1]:g}"' if dashed else ""
        self._parts.append(
            f'<polyline points="{_pairs(points)}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dash}/>'
        )

    def area(self, points: Sequence[Point], colour: str, opacity: float) -> None:
        """See `Canvas`."""
        self._parts.append(f'<polygon points="{_pairs(points)}" fill="{colour}" fill-opacity="{opacity:g}"/>')

    def dot(self, centre: Point, radius: float, colour: str, filled: bool = True) -> None:
        """See `Canvas`."""
        look = f'fill="{colour}"' if filled else f'fill="white" stroke="{colour}" stroke-width="1.5"'
        self._parts.append(f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:g}" {look}/>')

    def text(self, place: Point, text: str, size: float, colour: str = "#222222", anchor: Anchor = "start") -> None:
        """See `Canvas`."""
        self._parts.append(
            f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def content(self) -> bytes:
        """The file."""
        width, height = self._size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">'
            f'<rect width="{width}" height="{height}" fill="white"/>' + "".join(self._parts) + "</svg>\n"
        ).encode()


class PngCanvas:
    """A PNG, drawn with Pillow."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, dashed: bool = False) -> None:
        """See `Canvas`."""
        for piece in _dashes(points) if dashed else [points]:
            self._draw.line(_scaled(piece), colour, max(1, round(width * SCALE)), joint="curve")

    def area(self, points: Sequence[Point], colour: str, opacity: float) -> None:
        """See `Canvas`."""
        self._draw.polygon(_scaled(points), (*ImageColor.getrgb(colour)[:3], round(255 * opacity)))

    def dot(self, centre: Point, radius: float, colour: str, filled: bool = True) -> None:
        """See `Canvas`."""
        x, y = (SCALE * value for value in centre)
        box = (x - SCALE * radius, y - SCALE * radius, x + SCALE * radius, y + SCALE * radius)
        self._draw.ellipse(box, colour if filled else "white", colour, round(1.5 * SCALE))

    def text(self, place: Point, text: str, size: float, colour: str = "#222222", anchor: Anchor = "start") -> None:
        """See `Canvas`."""
        font = ImageFont.load_default(size * SCALE)
        at = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        self._draw.text((place[0] * SCALE, place[1] * SCALE), text, colour, font, at)

    def content(self) -> bytes:
        """The file."""
        size = (self._image.width * PIXELS // SCALE, self._image.height * PIXELS // SCALE)
        small = self._image.resize(size, Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "PNG", optimize=True)
        return out.getvalue()


def _pairs(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * SCALE, y * SCALE) for x, y in points]


def _dashes(points: Sequence[Point]) -> list[list[Point]]:
    """A line cut into its dashes."""
    pieces: list[list[Point]] = []
    on, left = True, DASH[0]
    for (x0, y0), (x1, y1) in pairwise(points):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        done = 0.0
        while done < length:
            step = min(left, length - done)
            if on:
                ends = [done / length, (done + step) / length]
                pieces.append([(x0 + end * (x1 - x0), y0 + end * (y1 - y0)) for end in ends])
            done += step
            left -= step
            if left <= 0:
                on = not on
                left = DASH[0] if on else DASH[1]
    return pieces
