"""Images, comparisons, prompts and facts in LLaVA-RLHF's file formats, a handful of rows."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


def write_rlhf_world(folder: Path, images: int = 6) -> Path:
    """images/, comparisons.json, prompts.json, facts.json, conversations.json below `folder`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"{i:012d}.jpg" for i in range(images)]
    for i, name in enumerate(names):
        Image.new("RGB", (40, 32), COLOURS[i % len(COLOURS)]).save(folder / "images" / name)
    question = "Describe the image."
    comparisons = [
        asked(f"c{i}", name, question)
        | {
            "output_1": {"from": "gpt", "value": "There is a dog."},
            "output_2": {"from": "gpt", "value": f"There is a dog and {i + 2} cars."},
            "preference": 1 + i % 2,
        }
        for i, name in enumerate(names)
    ]
    prompts = [asked(f"p{i}", name, question) | {"caption_type": 1 + i % 7} for i, name in enumerate(names)]
    conversations = [asked(f"s{i}", name, question, "There is a cup.") for i, name in enumerate(names)]
    facts = {name: [f"A {COLOURS[i % len(COLOURS)]} wall.", "Nothing else."] for i, name in enumerate(names)}
    facts |= {f"aok_{name}": ["The wall is plain."] for name in names}
    for name, content in (
        ("comparisons", comparisons),
        ("prompts", prompts),
        ("conversations", conversations),
        ("facts", facts),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def asked(row_id: str, image: str, question: str, answer: str = "") -> dict[str, Any]:
    """One row with a question and its (perhaps blank) answer."""
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": row_id, "image": image, "conversations": turns}
