"""Drawing a scene: five backgrounds, 28 icons, pasted into a 224 x 224 picture.

Backgrounds and icons are drawn larger, shrunk once and kept, so that a scene costs a few pastes (about 0.2 ms).
"""

from functools import cache

from PIL import Image, ImageDraw, ImageFilter

from evalkit.miniature.icons import draw_icon
from evalkit.miniature.scenes import GRID, Scene, Thing

IMAGE_SIZE = 224
ICON_SIZE = 66
FOCUS_BLUR = 7.5  # pixels; icons remain recognisable, mostly
_CELL = 72
_MARGIN = 4
_ICON_SCALE = 3
_BACKGROUND_SCALE = 2

Colour = tuple[int, int, int]


def render(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, 224 x 224."""
    picture = _background(scene.place).copy()
    for thing in scene.things:
        sprite = _sprite(thing.noun, thing.colour)
        left, top, _, _ = bounding_box(thing)
        picture.paste(sprite, (left, top), sprite)
    return picture


def out_of_focus(picture: Image.Image) -> Image.Image:
    """The picture as a badly focused photograph: a base that knows the nouns then misses some."""
    return picture.filter(ImageFilter.GaussianBlur(FOCUS_BLUR))


def bounding_box(thing: Thing) -> tuple[int, int, int, int]:
    """Where a thing is drawn: left, top, width, height in pixels (COCO's order)."""
    row, column = divmod(thing.cell, GRID)
    inset = (_CELL - ICON_SIZE) // 2
    return (
        _MARGIN + column * _CELL + inset + thing.dx,
        _MARGIN + row * _CELL + inset + thing.dy,
        ICON_SIZE,
        ICON_SIZE,
    )


@cache
def _sprite(noun: str, colour: str | None) -> Image.Image:
    large = draw_icon(noun, colour, ICON_SIZE * _ICON_SCALE)
    return large.resize((ICON_SIZE, ICON_SIZE), Image.Resampling.LANCZOS)


@cache
def _background(place: str) -> Image.Image:
    size = IMAGE_SIZE * _BACKGROUND_SCALE
    picture = Image.new("RGB", (size, size))
    _BACKGROUNDS[place](ImageDraw.Draw(picture), size)
    return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)


def _band(draw: ImageDraw.ImageDraw, size: int, top: float, bottom: float, fill: Colour) -> None:
    """A horizontal band; top and bottom are shares of the height."""
    draw.rectangle((0, int(top * size), size, int(bottom * size)), fill=fill)


def _kitchen(draw: ImageDraw.ImageDraw, size: int) -> None:
    floor = 0.62
    _band(draw, size, 0, floor, (252, 238, 205))
    for offset in range(0, size, size // 8):
        draw.line((offset, 0, offset, floor * size), fill=(238, 220, 180), width=2)
        draw.line((0, offset, size, offset), fill=(238, 220, 180), width=2)
    _band(draw, size, floor, 1, (222, 190, 150))


def _street(draw: ImageDraw.ImageDraw, size: int) -> None:
    _band(draw, size, 0, 0.6, (200, 225, 245))
    for left, top in ((0.02, 0.18), (0.29, 0.18), (0.56, 0.18), (0.80, 0.12)):
        draw.rectangle((left * size, top * size, (left + 0.2) * size, 0.6 * size), fill=(178, 178, 190))
    _band(draw, size, 0.6, 1, (140, 140, 145))
    for left in range(10, size, 95):
        draw.rectangle((left, 0.79 * size, left + 50, 0.81 * size), fill=(240, 240, 240))


def _park(draw: ImageDraw.ImageDraw, size: int) -> None:
    _band(draw, size, 0, 0.45, (190, 230, 250))
    _band(draw, size, 0.45, 1, (160, 215, 130))
    for left in (30, 190, 350):
        draw.rectangle((left + 22, 150, left + 34, 205), fill=(150, 115, 80))
        draw.ellipse((left - 5, 70, left + 62, 165), fill=(125, 190, 110))


def _living_room(draw: ImageDraw.ImageDraw, size: int) -> None:
    _band(draw, size, 0, 0.68, (226, 214, 236))
    _band(draw, size, 0.68, 1, (190, 160, 130))
    draw.rectangle((290, 40, 410, 150), fill=(205, 230, 250), outline=(255, 255, 255), width=8)


def _beach(draw: ImageDraw.ImageDraw, size: int) -> None:
    _band(draw, size, 0, 0.35, (185, 228, 252))
    _band(draw, size, 0.35, 0.6, (110, 190, 225))
    _band(draw, size, 0.6, 1, (245, 225, 165))
    draw.ellipse((350, 15, 425, 90), fill=(255, 235, 120))


_BACKGROUNDS = {
    "kitchen": _kitchen,
    "street": _street,
    "park": _park,
    "living room": _living_room,
    "beach": _beach,
}
