"""Speed of AMBER scoring on one core, against a plain NLTK restatement of its text part on the same texts.

python tests/speed/amber.py

Bound: cutting the same texts at blanks and nothing else.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
GOLDEN = Path(os.environ.get("EVALKIT_GOLDEN", SHARED / "golden"))
ASSETS = Path(os.environ.get("EVALKIT_ASSETS", SHARED / "assets"))
os.environ.setdefault("NLTK_DATA", str(ASSETS / "nltk_data"))
sys.path.insert(0, str(ROOT))

from benchmarks.amber.benchmark import AMBER  # noqa: E402
from evalkit.schema import Item  # noqa: E402

Row = tuple[str, int, float, float]  # what, how many, seconds, how many a second
SAMPLE = 200  # texts for the restatement, which is slow


def nltk_nouns(response: str) -> list[str]:
    """The text part of the authors' protocol with NLTK's own functions."""
    import nltk
    from nltk.stem import WordNetLemmatizer

    lemmatize = WordNetLemmatizer().lemmatize
    return [lemmatize(word) for word, tag in nltk.pos_tag(nltk.word_tokenize(response)) if tag.startswith("NN")]


def timed(name: str, work: Callable[[], int]) -> Row:
    """Run once; seconds of processor time of this thread."""
    start = time.thread_time()
    amount = work()
    seconds = time.thread_time() - start
    return name, amount, seconds, amount / seconds


def dealt(items: Sequence[Item], path: Path) -> list[tuple[Item, str]]:
    """Golden responses dealt out to all items in turn; the second time round their sentences come in reverse."""
    texts = [row["response"] for row in json.loads(path.read_text(encoding="utf-8"))]
    reverse = [". ".join(reversed(text.split(". "))) for text in texts]
    return list(zip(items, islice(cycle(texts + reverse), len(items)), strict=True))


def main() -> list[Row]:
    """Measure, print and return the rows."""
    benchmark = AMBER(ASSETS / "amber", similarity=f"table:{GOLDEN / 'amber' / 'sim_table.json'}")
    items = benchmark.items()
    descriptions = [item for item in items if item.groups["dimension"] == "generative"]
    questions = [item for item in items if item.groups["dimension"] != "generative"]
    captions = dealt(descriptions, GOLDEN / "amber" / "gen_responses.json")
    answers = dealt(questions, GOLDEN / "amber" / "disc_responses.json")

    def score(pairs: Sequence[tuple[Item, str]]) -> int:
        return len([benchmark.score(item, text) for item, text in pairs])

    nltk_nouns("A dog.")  # loads NLTK's models
    rows = [
        timed("AMBER generative, cold (loads the text models)", lambda: score(captions)),
        timed("AMBER generative, warm", lambda: score(captions)),
        timed("AMBER discriminative", lambda: score(answers)),
        timed("plain NLTK, text part alone", lambda: len([nltk_nouns(text) for _, text in captions[:SAMPLE]])),
        timed("bound, generative: cutting at blanks", lambda: len([text.split() for _, text in captions])),
        timed("bound, discriminative: cutting at blanks", lambda: len([text.split() for _, text in answers])),
    ]
    for name, amount, seconds, rate in rows:
        print(f"{name:<48}{amount:>7,}  {seconds:7.2f} s {rate:>10,.0f} /s")
    cold, warm, _, plain, *_ = (rate for *_, rate in rows)
    print(f"against plain NLTK: cold {cold / plain:.1f} x, warm {warm / plain:.1f} x (NLTK's models loaded beforehand)")
    print("limits: 5 s generative (cold), 1 s discriminative")
    return rows


if __name__ == "__main__":
    main()
