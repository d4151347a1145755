"""Which kind of scene an image shows, by what people say of it: a scene word in one of its captions (our reading)."""

import re
from collections import Counter
from collections.abc import Sequence

SCENES = ("living room", "kitchen", "bathroom", "street", "bedroom", "beach", "park", "office", "restaurant")
_WORDS = re.compile(rf"\b({'|'.join(SCENES)})s?\b", re.IGNORECASE)


def scene_of(captions: Sequence[str]) -> str | None:
    """The scene that most captions of an image name; None where none does, or two are named equally often.

    >>> scene_of(["A small kitchen.", "A stove.", "A kitchen beside a living room."]), scene_of(["A dog."])
    ('kitchen', None)
    """
    counts = Counter(name for text in captions for name in {match.lower() for match in _WORDS.findall(text)})
    (best, most), *others = [*counts.most_common(2), ("", 0)]
    return best if most and all(count < most for _, count in others) else None
