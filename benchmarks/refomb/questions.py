"""RefoMB's two questions to the judge: which answer is better, and, of that review alone, which one hallucinates less.

The wording is the authors' (read from their pinned scripts) or this project's; the labelled blocks around it are the
authors' in both cases, four blanks in front of each line that is not part of a text put in.
"""


def overall_question(wording: str, description: str, question: str, reference: str, response: str) -> str:
    """The first question: description, question, the reference answer as model A, the model's as model B."""
    blocks = (
        ("the detailed description of the picture", description),
        ("the user's question", question),
        ("Model A's answer", reference),
        ("Model B's answer", response),
    )
    return _framed(wording, blocks) + "    "


def hallucination_question(wording: str, review: str) -> str:
    """The second question: the text of the first review, and nothing else."""
    return _framed(wording, (("the review text", review),)) + "\n    "


def _framed(wording: str, blocks: tuple[tuple[str, str], ...]) -> str:
    bodies = [f"    [Beginning of {name}]\n    {text}\n    [End of {name}]\n" for name, text in blocks]
    return f"\n    {wording}\n\n" + "\n".join(bodies)


def as_asked(answer: str) -> str:
    """A model's answer as the authors' script puts it in."""
    return answer.replace("<|endoftext|>", "<EOT>")
