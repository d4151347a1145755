"""Fronts of the prompts of one call: each is made once, by whichever thread first asks for one of its group."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import Future

from PIL import Image

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.fronts import Front, read_front, read_fronts
from evalkit.engines.served.groups import group_of
from evalkit.errors import DataError, EngineError
from evalkit.schema import Prompt

REMEMBERED = 8  # fronts kept for the next batches; a group that spans batches needs its own only


class FrontMaker:
    """Opens images and runs the processor."""

    def __init__(self, encoder: PromptEncoder, together: bool) -> None:
        """`together`: whether one call of the processor may make many fronts (see `check.fronts_agree`)."""
        self._encoder = encoder
        self._together = together
        self._fronts: OrderedDict[Hashable, Future[Front]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, prompts: Iterable[Prompt]) -> dict[Hashable, Future[Front]]:
        """The front of each prompt's group, made of the first of it. All prompts can be rendered.

        The futures are done, or will be by another thread; a result raises DataError if an image cannot be read, and
        EngineError if the processor refuses it.
        """
        firsts: dict[Hashable, Prompt] = {}
        for prompt in prompts:
            firsts.setdefault(group_of(prompt), prompt)
        return self.for_groups(firsts)

    def for_groups(self, firsts: Mapping[Hashable, Prompt]) -> dict[Hashable, Future[Front]]:
        """The front of some groups, each given by a prompt; futures as in `of`."""
        futures: dict[Hashable, Future[Front]] = {}
        mine: dict[Hashable, Prompt] = {}
        with self._lock:
            for group, prompt in firsts.items():
                if group not in self._fronts:
                    self._fronts[group] = Future()
                    mine[group] = prompt
                futures[group] = self._fronts[group]
            while len(self._fronts) > REMEMBERED:
                self._fronts.popitem(last=False)
        try:
            self._make(mine, futures)
        except BaseException as error:  # another thread may be waiting for them
            for group in mine:
                if not futures[group].done():
                    futures[group].set_exception(error)
            raise
        return futures

    def _make(self, prompts: Mapping[Hashable, Prompt], futures: Mapping[Hashable, Future[Front]]) -> None:
        opened: dict[Hashable, list[Image.Image]] = {}
        for group, prompt in prompts.items():
            try:
                opened[group] = [file.open() for file in prompt.images]
            except DataError as error:  # it is raised for each prompt of this group
                futures[group].set_exception(error)
        for group, front in self._at_once(prompts, opened).items():
            futures[group].set_result(front)
        for group, images in opened.items():
            if futures[group].done():
                continue
            try:
                futures[group].set_result(read_front(self._encoder, prompts[group], images))
            except (DataError, EngineError) as error:
                futures[group].set_exception(error)

    def _at_once(
        self, prompts: Mapping[Hashable, Prompt], opened: Mapping[Hashable, list[Image.Image]]
    ) -> dict[Hashable, Front]:
        """Fronts of the prompts with one image; none if they must be made one by one."""
        groups = [group for group, images in opened.items() if len(images) == 1]
        if not self._together or len(groups) < 2:
            return {}
        try:
            fronts = read_fronts(self._encoder, [prompts[g] for g in groups], [opened[g] for g in groups])
        except EngineError:
            return {}  # one by one it is seen which image the processor refuses
        return dict(zip(groups, fronts, strict=True))
