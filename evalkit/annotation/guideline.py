"""The guideline a new study starts with, by task; the study's own copy may be edited."""

from collections.abc import Mapping, Sequence

from evalkit.annotation.answers import Task

MEANINGS: Mapping[str, str] = {
    "object": "something is named that is not in the image",
    "position": "it is there, but not where the response says, or not in this relation to other things",
    "number": "there are more or fewer of them",
    "attribute": "it is there, but its colour, shape, size, material or state is another",
    "action": "it is there, but does something else",
    "color": "it is there in another colour",
    "quantity": "there are more or fewer of them",
    "relation": "both are there, but not in this relation: beside, on, held by",
    "text": "writing in the image reads differently",
    "factual": "a statement about the world is wrong, whatever the image shows",
    "other": "none of the other types",
}
_TASKS: Mapping[Task, str] = {
    "mark": (
        "Mark every word of the response that the image contradicts, and give each mark a type. If there is nothing to "
        "mark, submit it as clean."
    ),
    "correct": (
        "Change the response so that everything it says is true of the image. Change as little as possible: replace "
        "what is wrong, delete what cannot be mended, leave style and wording alone. Give each change a type. A "
        "response without an error is accepted as it is."
    ),
    "compare": (
        "Two models answered the same prompt. Say which response hallucinates less, then which is better overall. Say "
        "tie if you cannot tell. Mark the words that are wrong in either response."
    ),
}


def default_guideline(task: Task, types: Sequence[str]) -> str:
    """The default instructions to annotators; Markdown."""
    listed = "\n".join(f"* **{name}**" + (f": {MEANINGS[name]}" if name in MEANINGS else "") for name in types)
    return (
        f"# What to do\n\n{_TASKS[task]}\n\n"
        "Judge by the image alone, zoom in where it is small. A statement that the image neither shows nor contradicts "
        "(a mood, a guess marked as one) is not a hallucination. If you cannot decide, or the image does not show, "
        f"skip the item and say why.\n\n# Types\n\n{listed}\n"
    )
