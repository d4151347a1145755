"""The 28 icons: flat shapes with a dark outline, each on a transparent square.

Coordinates are in hundredths of the icon's side, so that a drawing reads the same at any size.
"""

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]

OUTLINE: Colour = (25, 25, 25)
PAINT: dict[str, Colour] = {
    "red": (214, 40, 40),
    "blue": (38, 90, 200),
    "green": (40, 150, 60),
    "yellow": (245, 200, 30),
    "white": (245, 245, 245),
}
_WOOD: Colour = (150, 90, 40)
_GLASS: Colour = (190, 225, 250)
_GREY: Colour = (90, 90, 90)
_WHITE: Colour = (250, 250, 250)


class Pen:
    """Shapes on a square canvas whose side counts as 100."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.unit = image.width / 100
        self._draw = ImageDraw.Draw(image)

    def _box(self, box: Box) -> Box:
        left, top, right, bottom = box
        return (left * self.unit, top * self.unit, right * self.unit, bottom * self.unit)

    def _points(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.unit, y * self.unit) for x, y in points]

    def _width(self, width: float) -> int:
        return int(width * self.unit)

    def rectangle(self, box: Box, fill: Colour, radius: float = 0) -> None:
        self._draw.rounded_rectangle(self._box(box), radius * self.unit, fill, OUTLINE, self._width(2))

    def ellipse(self, box: Box, fill: Colour | None, outline: Colour = OUTLINE, width: float = 2) -> None:
        self._draw.ellipse(self._box(box), fill, outline, self._width(width))

    def half_disc(self, box: Box, start: float, end: float, fill: Colour) -> None:
        self._draw.pieslice(self._box(box), start, end, fill, OUTLINE, self._width(3))

    def polygon(self, points: Sequence[Point], fill: Colour, outline: Colour = OUTLINE, width: float = 2) -> None:
        self._draw.polygon(self._points(points), fill=fill)
        self.line([*points, points[0]], outline, width)

    def line(self, points: Sequence[Point], fill: Colour = OUTLINE, width: float = 3) -> None:
        self._draw.line(self._points(points), fill, self._width(width), joint="curve")


def _circle_points(x: float, y: float, radius: float, count: int, start: float) -> list[Point]:
    """Corners of a regular polygon; start is the angle of the first one, in radians."""
    angles = [start + index * 2 * math.pi / count for index in range(count)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def _apple(pen: Pen, _: Colour) -> None:
    pen.ellipse((14, 25, 86, 92), (200, 25, 35))
    pen.line([(50, 30), (56, 8)], (90, 50, 20), 5)
    pen.ellipse((56, 8, 80, 22), (60, 160, 50))


def _banana(pen: Pen, _: Colour) -> None:
    outer = [(12, 20), (22, 18), (30, 45), (50, 65), (88, 72), (90, 80), (60, 88), (30, 75), (14, 50)]
    pen.polygon(outer, (250, 215, 40))
    pen.line([(12, 20), (16, 8)], (90, 60, 20), 6)


def _bench(pen: Pen, _: Colour) -> None:
    for box in ((5, 30, 95, 38), (5, 43, 95, 51), (2, 60, 98, 69)):
        pen.rectangle(box, _WOOD)
    for box in ((12, 30, 18, 94), (82, 30, 88, 94)):
        pen.rectangle(box, (60, 60, 60))


def _bicycle(pen: Pen, _: Colour) -> None:
    frame = (20, 140, 150)
    for box in ((3, 45, 43, 88), (57, 45, 97, 88)):
        pen.ellipse(box, None, width=4)
    pen.line([(23, 66), (40, 35), (68, 35), (50, 66), (23, 66)], frame, 5)
    pen.line([(50, 66), (40, 35)], frame, 5)
    pen.line([(77, 66), (66, 22), (78, 20)], frame, 5)
    pen.line([(32, 30), (47, 30)], width=6)


def _bird(pen: Pen, _: Colour) -> None:
    body = (40, 150, 225)
    pen.ellipse((22, 34, 76, 74), body)
    pen.ellipse((58, 16, 88, 48), body)
    pen.polygon([(86, 28), (99, 33), (86, 38)], (250, 160, 20))
    pen.ellipse((72, 24, 78, 30), OUTLINE)
    pen.polygon([(24, 52), (2, 40), (4, 62)], body)
    pen.half_disc((30, 34, 66, 70), 10, 190, (20, 90, 160))
    pen.line([(46, 73), (44, 92)], (240, 150, 20), 4)
    pen.line([(56, 73), (58, 92)], (240, 150, 20), 4)


def _boat(pen: Pen, _: Colour) -> None:
    pen.polygon([(5, 66), (95, 66), (80, 90), (20, 90)], (150, 60, 30))
    pen.rectangle((47, 8, 52, 66), (90, 60, 30))
    pen.polygon([(54, 10), (54, 60), (90, 60)], _WHITE)
    pen.polygon([(45, 18), (45, 60), (16, 60)], (250, 220, 220))


def _book(pen: Pen, cover: Colour) -> None:
    pen.polygon([(5, 22), (50, 32), (50, 90), (5, 80)], cover)
    pen.polygon([(95, 22), (50, 32), (50, 90), (95, 80)], cover)
    pen.polygon([(10, 18), (50, 28), (50, 82), (10, 72)], (250, 248, 235))
    pen.polygon([(90, 18), (50, 28), (50, 82), (90, 72)], (250, 248, 235))
    for y in (30, 42, 54):
        pen.line([(16, y), (44, y + 7)], (120, 120, 120), 2)
        pen.line([(56, y + 7), (84, y)], (120, 120, 120), 2)


def _bowl(pen: Pen, _: Colour) -> None:
    pen.half_disc((5, 0, 95, 90), 0, 180, (120, 200, 230))
    pen.ellipse((5, 36, 95, 54), (240, 240, 220))
    pen.rectangle((35, 87, 65, 95), (120, 200, 230))


def _car(pen: Pen, paint: Colour) -> None:
    pen.polygon([(4, 55), (20, 52), (32, 30), (68, 30), (80, 52), (96, 56), (96, 75), (4, 75)], paint)
    pen.polygon([(27, 50), (36, 36), (48, 36), (48, 50)], _GLASS)
    pen.polygon([(53, 50), (53, 36), (65, 36), (72, 50)], _GLASS)
    for left in (16, 64):
        pen.ellipse((left, 64, left + 20, 86), OUTLINE)
        pen.ellipse((left + 6, 70, left + 14, 80), (200, 200, 200))


def _cat(pen: Pen, _: Colour) -> None:
    fur = (120, 120, 128)
    pen.ellipse((20, 48, 80, 97), fur)
    pen.ellipse((24, 14, 76, 60), fur)
    pen.polygon([(26, 28), (28, 2), (46, 18)], fur)
    pen.polygon([(74, 28), (72, 2), (54, 18)], fur)
    for left in (36, 56):
        pen.ellipse((left, 30, left + 8, 40), (240, 220, 60))
    pen.polygon([(46, 44), (54, 44), (50, 49)], (230, 120, 130))
    for near, far in ((46, 42), (49, 53)):
        pen.line([(30, near), (8, far)], width=2)
        pen.line([(70, near), (92, far)], width=2)


def _chair(pen: Pen, paint: Colour) -> None:
    for box in ((25, 5, 34, 95), (34, 12, 70, 20), (34, 28, 70, 35), (25, 50, 78, 60), (68, 5, 76, 95)):
        pen.rectangle(box, paint)


def _clock(pen: Pen, _: Colour) -> None:
    pen.ellipse((8, 8, 92, 92), _WHITE, (120, 70, 20), 8)
    pen.line([(50, 50), (50, 22)], width=5)
    pen.line([(50, 50), (70, 60)], width=5)


def _couch(pen: Pen, cloth: Colour) -> None:
    for box in ((12, 25, 88, 70), (2, 42, 20, 82), (80, 42, 98, 82)):
        pen.rectangle(box, cloth, radius=8)
    pen.rectangle((20, 55, 80, 82), cloth)
    pen.line([(50, 55), (50, 82)], width=2)
    for box in ((8, 82, 14, 92), (86, 82, 92, 92)):
        pen.rectangle(box, OUTLINE)


def _cup(pen: Pen, paint: Colour) -> None:
    pen.ellipse((62, 35, 92, 70), None, paint, 8)
    pen.polygon([(20, 25), (72, 25), (66, 85), (26, 85)], paint)
    pen.ellipse((20, 18, 72, 32), (90, 60, 40))


def _dining_table(pen: Pen, _: Colour) -> None:
    pen.ellipse((3, 30, 97, 58), (205, 140, 80))
    for box in ((12, 52, 20, 92), (80, 52, 88, 92), (45, 57, 54, 96)):
        pen.rectangle(box, (160, 100, 50))


def _dog(pen: Pen, _: Colour) -> None:
    fur = (165, 105, 55)
    pen.ellipse((18, 42, 78, 72), fur)
    for left in (24, 64):
        pen.rectangle((left, 62, left + 8, 94), fur)
    pen.ellipse((60, 14, 92, 46), fur)
    pen.ellipse((80, 28, 99, 42), fur)
    pen.ellipse((93, 30, 99, 36), OUTLINE)
    pen.ellipse((60, 16, 71, 46), (100, 60, 30))
    pen.ellipse((76, 22, 81, 27), OUTLINE)
    pen.line([(20, 50), (5, 28)], fur, 7)


def _kite(pen: Pen, cloth: Colour) -> None:
    pen.polygon([(50, 2), (82, 36), (50, 72), (18, 36)], cloth)
    pen.line([(50, 2), (50, 72)], width=2)
    pen.line([(18, 36), (82, 36)], width=2)
    pen.line([(50, 72), (40, 80), (58, 88), (46, 98)])


def _person(pen: Pen, _: Colour) -> None:
    shirt, trousers = (90, 60, 160), (50, 60, 90)
    pen.ellipse((36, 2, 64, 30), (240, 195, 150))
    pen.polygon([(30, 34), (70, 34), (66, 66), (34, 66)], shirt)
    pen.line([(32, 36), (18, 62)], shirt, 8)
    pen.line([(68, 36), (82, 62)], shirt, 8)
    pen.line([(42, 66), (38, 98)], trousers, 10)
    pen.line([(58, 66), (62, 98)], trousers, 10)


def _potted_plant(pen: Pen, _: Colour) -> None:
    pen.polygon([(30, 64), (70, 64), (64, 97), (36, 97)], (190, 90, 50))
    for box in ((35, 5, 65, 50), (10, 22, 46, 62), (54, 22, 90, 62)):
        pen.ellipse(box, (40, 140, 60))


def _refrigerator(pen: Pen, _: Colour) -> None:
    pen.rectangle((22, 3, 78, 97), (215, 225, 230), radius=6)
    pen.line([(22, 38), (78, 38)])
    for box in ((68, 16, 72, 32), (68, 46, 72, 70)):
        pen.rectangle(box, (80, 80, 80))


def _sports_ball(pen: Pen, _: Colour) -> None:
    up = -math.pi / 2
    pen.ellipse((12, 12, 88, 88), _WHITE)
    inner, outer = _circle_points(50, 50, 15, 5, up), _circle_points(50, 50, 37, 5, up)
    pen.polygon(inner, OUTLINE)
    for near, far in zip(inner, outer, strict=True):
        pen.line([near, far])
    for x, y in _circle_points(50, 50, 34, 5, up):
        pen.ellipse((x - 6, y - 6, x + 6, y + 6), OUTLINE)


def _stop_sign(pen: Pen, _: Colour) -> None:
    pen.rectangle((46, 60, 54, 100), (140, 140, 140))
    pen.polygon(_circle_points(50, 38, 36, 8, math.pi / 8), (205, 20, 30), (255, 255, 255), 4)
    pen.polygon([(26, 32), (74, 32), (74, 44), (26, 44)], (255, 255, 255), (255, 255, 255))


def _suitcase(pen: Pen, _: Colour) -> None:
    pen.line([(36, 30), (36, 14), (64, 14), (64, 30)], width=6)
    pen.rectangle((5, 28, 95, 86), (185, 130, 75), radius=8)
    for left in (20, 72):
        pen.rectangle((left, 28, left + 8, 86), (110, 70, 35))
    pen.rectangle((45, 24, 55, 34), (240, 205, 90))


def _surfboard(pen: Pen, _: Colour) -> None:
    upright = Image.new("RGBA", pen.image.size, (0, 0, 0, 0))
    board = Pen(upright)
    board.ellipse((34, 0, 66, 100), (250, 120, 160))
    board.line([(50, 3), (50, 97)], (255, 255, 255), 5)
    pen.image.alpha_composite(upright.rotate(30, resample=Image.Resampling.BICUBIC))


def _traffic_light(pen: Pen, _: Colour) -> None:
    pen.rectangle((46, 70, 54, 100), _GREY)
    pen.rectangle((30, 2, 70, 74), (40, 40, 40), radius=8)
    for top, lamp in ((6, (230, 30, 30)), (28, (250, 200, 30)), (50, (40, 190, 70))):
        pen.ellipse((39, top, 61, top + 20), lamp)


def _truck(pen: Pen, _: Colour) -> None:
    pen.rectangle((2, 14, 62, 76), (250, 170, 20), radius=3)
    pen.polygon([(64, 34), (84, 34), (98, 54), (98, 76), (64, 76)], (60, 110, 90))
    pen.polygon([(70, 39), (82, 39), (91, 54), (70, 54)], _GLASS)
    for left in (12, 36, 72):
        pen.ellipse((left, 66, left + 20, 88), OUTLINE)
        pen.ellipse((left + 6, 72, left + 14, 82), (200, 200, 200))


def _tv(pen: Pen, _: Colour) -> None:
    pen.rectangle((3, 15, 97, 75), (20, 20, 25), radius=4)
    pen.rectangle((9, 21, 91, 68), (70, 110, 180))
    pen.rectangle((44, 75, 56, 86), OUTLINE)
    pen.rectangle((26, 86, 74, 92), OUTLINE)


def _umbrella(pen: Pen, cloth: Colour) -> None:
    pen.half_disc((4, 8, 96, 100), 180, 360, cloth)
    for x in (28, 72):
        pen.line([(50, 9), (x, 54)], width=2)
    pen.line([(50, 54), (50, 90), (42, 96), (34, 90)], (90, 60, 30), 5)


_ICONS: dict[str, Callable[[Pen, Colour], None]] = {
    "apple": _apple,
    "banana": _banana,
    "bench": _bench,
    "bicycle": _bicycle,
    "bird": _bird,
    "boat": _boat,
    "book": _book,
    "bowl": _bowl,
    "car": _car,
    "cat": _cat,
    "chair": _chair,
    "clock": _clock,
    "couch": _couch,
    "cup": _cup,
    "dining table": _dining_table,
    "dog": _dog,
    "kite": _kite,
    "person": _person,
    "potted plant": _potted_plant,
    "refrigerator": _refrigerator,
    "sports ball": _sports_ball,
    "stop sign": _stop_sign,
    "suitcase": _suitcase,
    "surfboard": _surfboard,
    "traffic light": _traffic_light,
    "truck": _truck,
    "tv": _tv,
    "umbrella": _umbrella,
}


def draw_icon(noun: str, colour: str | None, size: int) -> Image.Image:
    """One icon on a transparent square of `size` pixels; colour is None for nouns that come in one colour only."""
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    _ICONS[noun](Pen(image), PAINT[colour] if colour else OUTLINE)
    return image
