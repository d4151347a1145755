"""Candidates: several responses to one prompt, before ranking; choosing among them."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled response.

    id         unique: prompt and sample index
    prompt_id  candidates of one prompt (image and question) share it
    image      path or content hash of the image, as in the prompt file; None for a prompt without one
    prompt     the question asked
    text       the response
    sample     index among the responses to the prompt
    """

    id: str
    prompt_id: str
    image: str | None
    prompt: str
    text: str
    sample: int
