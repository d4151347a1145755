"""What engines share that hand out texts and know no probabilities: stored responses, scripts, rules."""

from collections.abc import Sequence

from evalkit.engines.base import Choices, TokenLogprobs
from evalkit.errors import EngineError
from evalkit.schema import Prompt


class TextEngine:
    """The part of `Engine` that needs no model; a child generates, and may look at `_stopping` while it does."""

    name: str
    _stopping = False

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        """Not possible."""
        raise self._texts_only()

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """Not possible."""
        raise self._texts_only()

    def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping = True

    def close(self) -> None:
        """Nothing to release."""

    def _texts_only(self) -> EngineError:
        return EngineError(f"the {self.name} engine has texts only: use transformers or vllm for probabilities")
