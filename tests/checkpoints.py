"""Writes the tables of docs/checkpoints.md: python -m tests.checkpoints"""

import re
import sys
from pathlib import Path

from evalkit.cli.checkpoints import published_table

DOCS = Path(__file__).resolve().parent.parent / "docs" / "checkpoints.md"
FAMILIES = {  # every cell of their table is a test in tests/evalkit/engines/model/test_families.py
    "llava": "own template",
    "llava_next": "own template",
    "idefics2": "own template",
    "idefics3": "own template",
    "gemma3": "own template",
    "mllama": "own template",
    "paligemma": "built-in prompt",
    "chameleon": "built-in prompt",
    "blip2": "built-in prompt; rows encoded singly",
    "instructblip": "built-in prompt; rows encoded singly",
}


def families_table() -> str:
    """Families x operations; every cell is a test."""
    lines = [
        "| family | prompt | generate | batch = single | choices | logprobs | training |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {name} | {prompt} | yes | yes | yes | yes | yes |" for name, prompt in FAMILIES.items()]
    return "\n".join(lines)


def filled(text: str) -> str:
    """The document with its tables."""
    for name, table in (("published", published_table()), ("families", families_table())):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, t=table: f"{found[1]}\n{t}\n\n{found[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    DOCS.write_text(filled(DOCS.read_text("utf-8")), "utf-8")
    print(f"{DOCS} written", file=sys.stderr)
