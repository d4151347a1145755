"""The reward model of fact-augmented RLHF as a reward: it reads facts of the picture, the policy does not.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525). What belongs to tokens there (the end penalty, the length in tokens, the
KL) is the trainer's; here the length is counted in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aligners.reward_model.facts import AnswerKind, shuffled
from aligners.reward_model.fit import rewards_of
from aligners.reward_model.model import Rating, RatingEncoder, RewardModel
from aligners.rewards.reward import Reward, RewardFunction, Sampled
from aligners.rl.rewards import symbolic_bonus
from evalkit.errors import DataError
from evalkit.schema import Turn

COLUMN = "facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactWeights:
    """Weight of each part in the total.

    model_score  times the reward model's score
    correct      times the symbolic bonus of questions with a known answer (a row's `caption_type`); 2 in LLaVA-RLHF
    words        times the words, taken away
    """

    model_score: float = 1.0
    correct: float = 2.0
    words: float = 0.0


def fact_reward(
    model: RewardModel,
    encoder: RatingEncoder,
    weights: FactWeights | None = None,
    *,
    watch: RewardFunction | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> RewardFunction:
    """A reward function that reads `facts` (true sentences) and, if there, `caption_type` (1 to 7) of a row.

    Parts: model_score, correct, words. Facts are read in an order drawn anew at every call, as in the released code.

    Args:
        model, encoder: of `load_reward_model`, with the style it was trained with.
        weights: of the parts.
        watch: another reward whose parts (hallucinated, covered, wrong_counts ...) stand beside these and weigh
            nothing: what a policy exploits in the model then shows.
        seed: of the orders of facts.
        batch_size: ratings in a forward pass.
    """
    weighing, calls = weights or FactWeights(), 0

    def reward(responses: Sequence[Sampled]) -> list[Reward]:
        nonlocal calls
        calls += 1
        ratings = [_rating(number, sampled, f"{calls}:{number}", seed) for number, sampled in enumerate(responses)]
        scores = rewards_of(model, encoder, ratings, batch_size).tolist()
        watched = watch(responses) if watch is not None else [Reward(None)] * len(responses)
        return [_reward(*row, weighing) for row in zip(responses, scores, watched, strict=True)]

    return reward


def _rating(number: int, sampled: Sampled, key: str, seed: int) -> Rating:
    if sampled.image is None:
        raise DataError("the reward model looks at images: give trl_reward and its like `image_of`")
    facts = sampled.reference.get(COLUMN)
    if not facts or not isinstance(facts, Sequence) or isinstance(facts, str):
        raise DataError(
            f"image {sampled.image.name!r}: the fact reward needs a column {COLUMN!r} (list of true sentences); "
            f"columns here: {', '.join(sorted(sampled.reference)) or 'none'}"
        )
    ordered = tuple(shuffled(facts, seed=seed, key=key))
    return Rating(str(number), sampled.image, (Turn("user", sampled.prompt),), sampled.response, ordered)


def _kind(sampled: Sampled) -> AnswerKind:
    return AnswerKind(sampled.reference.get("caption_type") or AnswerKind.GENERAL)


def _reward(sampled: Sampled, score: float, watched: Reward, weights: FactWeights) -> Reward:
    parts = {
        **watched.parts,
        "model_score": score,
        "correct": symbolic_bonus(_kind(sampled), sampled.response),
        "words": float(len(sampled.response.split())),
    }
    total = sum(getattr(weights, name) * parts[name] for name in ("model_score", "correct"))
    return Reward(total - weights.words * parts["words"], parts)
