"""What a reward function gets and gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evalkit.images import ImageFile
from evalkit.schema import Json


@dataclass(frozen=True, slots=True)
class Sampled:
    """One response that a policy sampled, with what is known about its prompt.

    prompt     the question, without template or image placeholder
    response   the text; end token left out
    image      None for a prompt without one, or where no reward looks at it
    reference  columns of the prompt's row: reference objects, facts, counts ... (JSON)
    """

    prompt: str
    response: str
    image: ImageFile | None = None
    reference: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reward:
    """What one response earns: the total, and the parts it is made of (each as counted, before its weight).

    total None: the function has nothing to say about this response (no claim to check, say); trainers leave it out.
    """

    total: float | None
    parts: Mapping[str, float] = field(default_factory=dict)


RewardFunction = Callable[[Sequence[Sampled]], list[Reward]]


def means(rewards: Sequence[Reward]) -> dict[str, float]:
    """Mean of the total and of each part over the responses that have it."""
    values: dict[str, list[float]] = {}
    for reward in rewards:
        named = dict(reward.parts) if reward.total is None else {"total": reward.total, **reward.parts}
        for name, value in named.items():
            values.setdefault(name, []).append(value)
    return {name: sum(some) / len(some) for name, some in values.items()}
