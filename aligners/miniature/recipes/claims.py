"""Claims of a miniature description: one per mention of a noun, that it is in the image, and one per stated neighbour.

Colour and number are beyond the tiny model, so they make no claims here.
"""

from collections.abc import Mapping

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import Claim
from aligners.feedback.splitting import RuleSplitter
from evalkit.miniature.captions import claims as noun_claims
from evalkit.miniature.captions import is_true, objects_only
from evalkit.miniature.lexicon import find_nouns
from evalkit.miniature.neighbours import holds, neighbour_statements
from evalkit.miniature.scenes import Scene


def existence_claims(text: str) -> list[Claim]:
    """ "There is a dog in the image." for every mention of a noun of the world, in order.

    A text that names a noun twice makes the same claim twice, see `RlaifSettings.repeated_weight`; to name it as the
    neighbour of another thing is no second mention.
    """
    objects = objects_only(text)
    by_noun = {claim.noun: claim for claim in noun_claims(objects)}
    mentions = [by_noun[mention.noun] for mention in find_nouns(objects)]
    return [Claim(claim.statement, claim.question, "existence") for claim in mentions]


def scene_claims(text: str) -> list[Claim]:
    """Claims of existence, then those of neighbours: "The dog is next to the cat."."""
    stated = neighbour_statements(text)
    return existence_claims(text) + [Claim(one.statement, one.question, "location") for one in stated]


def lexicon_splitter() -> RuleSplitter:
    """The splitter made of `scene_claims`."""
    return RuleSplitter("miniature lexicon", scene_claims)


class Oracle:
    """The truth about miniature candidates, to measure a labeler: image name -> scene."""

    def __init__(self, scenes: Mapping[str, Scene]) -> None:
        self._scenes = scenes

    def __call__(self, candidate: Candidate) -> tuple[int, int]:
        """(false claims, true claims) of a candidate."""
        scene = self._scenes[candidate.image or ""]
        truth = [is_true(claim, scene) for claim in noun_claims(objects_only(candidate.text))]
        truth += [holds(one, scene) for one in neighbour_statements(candidate.text)]
        return len(truth) - sum(truth), sum(truth)
