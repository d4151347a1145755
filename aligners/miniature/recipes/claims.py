"""Claims of a miniature description, by the world's own lexicon: one per mention of a noun, that it is in the image.

Position, colour and number are beyond the tiny model, so they make no claims here.
"""

from collections.abc import Mapping

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import Claim
from aligners.feedback.splitting import RuleSplitter
from evalkit.miniature.captions import claims as noun_claims
from evalkit.miniature.captions import is_true
from evalkit.miniature.lexicon import find_nouns
from evalkit.miniature.scenes import Scene


def existence_claims(text: str) -> list[Claim]:
    """ "There is a dog in the image." for every mention of a noun of the world, in order.

    A text that names a noun twice makes the same claim twice, see `RlaifSettings.repeated_weight`.
    """
    by_noun = {claim.noun: claim for claim in noun_claims(text)}
    mentions = [by_noun[mention.noun] for mention in find_nouns(text)]
    return [Claim(claim.statement, claim.question, "existence") for claim in mentions]


def lexicon_splitter() -> RuleSplitter:
    """The splitter made of `existence_claims`."""
    return RuleSplitter("miniature lexicon", existence_claims)


class Oracle:
    """The truth about miniature candidates, to measure a labeler: image name -> scene."""

    def __init__(self, scenes: Mapping[str, Scene]) -> None:
        self._scenes = scenes

    def __call__(self, candidate: Candidate) -> tuple[int, int]:
        """(false claims, true claims) of a candidate."""
        scene = self._scenes[candidate.image or ""]
        claims = noun_claims(candidate.text)
        true = sum(is_true(claim, scene) for claim in claims)
        return len(claims) - true, true
