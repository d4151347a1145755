"""Writes the tables of docs/checkpoints.md: python -m tests.checkpoints"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from evalkit.cli.checkpoints import published_table

DOCS = Path(__file__).resolve().parent.parent / "docs" / "checkpoints.md"
HEAD = (
    "| family | prompt | generate | batch = single | choices | logprobs | training |",
    "|---|---|---|---|---|---|---|",
)


def families_table() -> str:
    """Families x operations, as the checks of `family_checks` find them now."""
    from family_checks import ALL, row_of, some_prompts

    lines = list(HEAD)
    for family in ALL:
        with TemporaryDirectory() as folder:
            lines.append(row_of(family, some_prompts(Path(folder)), Path(folder)))
    return "\n".join(lines)


def told_families(text: str) -> dict[str, str]:
    """Family -> its row in the document."""
    table = re.search(r"<!-- families -->\n(.*?)<!-- end -->", text, re.DOTALL)
    rows = [] if table is None else [line for line in table[1].splitlines() if line.startswith("| ")][1:]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def filled(text: str, **tables: str) -> str:
    """The document with these tables."""
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, t=table: f"{found[1]}\n{t}\n\n{found[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))  # as pytest has it
    whole = filled(DOCS.read_text("utf-8"), published=published_table(), families=families_table())
    DOCS.write_text(whole, "utf-8")
    print(f"{DOCS} written", file=sys.stderr)
