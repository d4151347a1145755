"""Work cut into batches: length buckets, images decoded ahead in threads, halves when memory runs out."""

import gc
import logging
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from evalkit.errors import DataError
from evalkit.images import ImageFile
from evalkit.schema import Prompt

log = logging.getLogger(__name__)

Work = TypeVar("Work")
Ready = TypeVar("Ready")
Result = TypeVar("Result")

AHEAD = 2  # batches prepared while the model works on one
WORKERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts (by index) with the same number of images, each answered for every sample index in `samples`."""

    indices: tuple[int, ...]
    samples: range

    @property
    def rows(self) -> int:
        """Sequences the model decodes at once."""
        return len(self.indices) * len(self.samples)

    def halves(self) -> "tuple[Batch, Batch] | None":
        """Two batches with the same work, or None for a single row."""
        if len(self.indices) > 1:
            middle = len(self.indices) // 2
            return Batch(self.indices[:middle], self.samples), Batch(self.indices[middle:], self.samples)
        if len(self.samples) > 1:
            middle = len(self.samples) // 2
            return Batch(self.indices, self.samples[:middle]), Batch(self.indices, self.samples[middle:])
        return None

    def pieces(self, rows: int) -> "list[Batch]":
        """The batch in parts of at most `rows` rows."""
        halves = self.halves()
        if self.rows <= rows or halves is None:
            return [self]
        return halves[0].pieces(rows) + halves[1].pieces(rows)


def plan(
    prompts: Sequence[Prompt],
    rows: int,
    samples: int = 1,
    extra: Sequence[int] | None = None,
    groups: Sequence[Hashable | None] | None = None,
    per_image: int = 1,
) -> list[Batch]:
    """Length buckets of at most `rows` rows: by number of images, image size and text length, longest first.

    Deterministic; long prompts come first, so that a shortage of memory shows at once. A group counts as its longest
    prompt, and its prompts follow each other. Prompts of a group may count as one row, so that a batch with groups has
    up to `rows * per_image` prompts about `rows` images (or sets of images).

    Args:
        prompts: what is asked.
        rows: most sequences in a batch.
        samples: responses per prompt.
        extra: additional length of each prompt (a continuation).
        groups: equal for prompts (with equally many images) that stay together; None for one that is by itself.
        per_image: most prompts, on average, for which a batch has one row; prompts without images are a row each.
    Raises:
        DataError: if an image is missing or not an image; only its header is read.
    """
    firsts: dict[tuple[ImageFile, ...], Prompt] = {}  # the first prompt about each image
    for prompt in prompts:
        firsts.setdefault(prompt.images, prompt)
    with ThreadPoolExecutor(WORKERS) as pool:
        area_of = dict(zip(firsts, pool.map(_area, firsts.values()), strict=True))
    areas = [area_of[prompt.images] for prompt in prompts]
    lengths = [
        sum(map(len, prompt.texts)) + more for prompt, more in zip(prompts, extra or [0] * len(prompts), strict=True)
    ]
    keys = [(i,) if key is None else (key,) for i, key in enumerate(groups or [None] * len(prompts))]
    first: dict[Hashable, int] = {}  # the longest prompt of each group
    for i, key in enumerate(keys):
        if key not in first or lengths[i] > lengths[first[key]]:
            first[key] = i
    ranks = [
        (-len(prompts[i].images), -areas[i], -lengths[first[keys[i]]], first[keys[i]]) for i in range(len(prompts))
    ]
    order = sorted(range(len(prompts)), key=lambda i: (*ranks[i], -lengths[i], i))
    width = max(1, rows // samples)
    batches: list[Batch] = []
    for images in sorted({len(prompt.images) for prompt in prompts}, reverse=True):
        alike = [i for i in order if len(prompts[i].images) == images]
        each = per_image if images else 1
        for indices in _filled(alike, keys, width, width * each):
            batches += Batch(tuple(indices), range(samples)).pieces(rows * each)
    return batches


def _filled(order: Sequence[int], keys: Sequence[Hashable], groups: int, prompts: int) -> Iterator[list[int]]:
    """The order cut where so many groups or so many prompts are full."""
    filled: list[int] = []
    full: set[Hashable] = set()
    for i in order:
        if len(filled) == prompts or (len(full) == groups and keys[i] not in full and prompts > groups):
            yield filled
            filled, full = [], set()
        filled.append(i)
        full.add(keys[i])
    if filled:
        yield filled


def _area(prompt: Prompt) -> int:
    try:
        return sum(image_area(file) for file in prompt.images)
    except DataError as error:
        raise DataError(f"prompt {prompt.id!r}: {error}") from error


def image_area(file: ImageFile) -> int:
    """Pixels of an image by its header.

    Raises:
        DataError: if the file is missing, not an image, or larger than the limit.
    """
    width, height = file.size()
    return width * height


def ahead(prepare: Callable[[Work], Ready], work: Iterable[Work], depth: int = AHEAD) -> Iterator[tuple[Work, Ready]]:
    """(item, prepare(item)) in order, up to `depth` items prepared in threads while the caller is busy."""
    waiting: deque[tuple[Work, Future[Ready]]] = deque()
    pool = ThreadPoolExecutor(min(WORKERS, depth))
    try:
        for item in work:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) > depth:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_batches(
    batches: Sequence[Batch], prepare: Callable[[Batch], Ready], work: Callable[[Batch, Ready], Result]
) -> Iterator[tuple[Batch, Result | None]]:
    """(batch, work(batch, prepare(batch))); a batch for which memory runs out is halved, and so are all later ones.

    The result of a single row that does not fit into memory is None.
    """
    limit = max((batch.rows for batch in batches), default=1)
    for whole, ready in ahead(prepare, batches):
        todo = deque([whole])
        while todo:
            batch = todo.popleft()
            if batch.rows > limit:
                todo.extendleft(reversed(batch.pieces(limit)))
                continue
            result = _attempt(work, batch, ready if batch == whole else prepare(batch))
            if result is None and batch.rows > 1:
                limit = batch.rows // 2
                log.warning("out of memory with %d sequences at once; going on with %d", batch.rows, limit)
                todo.appendleft(batch)
            else:
                yield batch, result


def _attempt(work: Callable[[Batch, Ready], Result], batch: Batch, ready: Ready) -> Result | None:
    """work(batch, ready), or None if memory ran out; by then everything the attempt held is released."""
    try:
        return work(batch, ready)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    free_memory()
    return None


def free_memory() -> None:
    """Return what nobody refers to any more to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch or Python says that the device's or the machine's memory is used up."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed", "allocation_failed")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)
