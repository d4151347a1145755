"""Speed of CHAIR scoring against a plain restatement of the published programs, on the captions that OPERA released.

    python tests/speed/chair.py

Both read the same captions in the same process, one core, in turns; the table shows medians of the turns' captions per
second and ratios. Cold: ours starts with empty caches, the models are loaded; warm: once more. What is loaded is kept
from the garbage collector, so that neither side pays for the other's data (NLTK's WordNet alone is 150,000 objects).
"""

import gc
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared"
GOLDEN = Path(os.environ.get("EVALKIT_GOLDEN", SHARED / "golden"))
ASSETS = Path(os.environ.setdefault("EVALKIT_ASSETS", str(SHARED / "assets")))
os.environ.setdefault("NLTK_DATA", str(ASSETS / "nltk_data"))

import nltk  # noqa: E402
from nltk.stem import WordNetLemmatizer  # noqa: E402

from benchmarks.chair import score_caption  # noqa: E402
from benchmarks.objects import singularise  # noqa: E402
from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Variant, Vocabulary, read_synonyms  # noqa: E402
from evalkit.text import tokens as text  # noqa: E402

TURNS, LIMIT = 5, 40.0
Row = tuple[str, float, float, float]  # name, captions/s of the baseline, captions/s of ours, ratio


def opera_captions() -> list[str]:
    """All captions of the files that the expected figures name."""
    folder = GOLDEN / "chair" / "opera_captions"
    names = json.loads((folder / "expected_metrics.json").read_text(encoding="utf-8"))
    lines = [line for name in names for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["caption"] for line in lines]


class Baseline:
    """The published procedure step by step: whole lists, NLTK's own functions, nothing remembered."""

    def __init__(self, synonyms: dict[str, str], variant: Variant) -> None:
        self.synonyms = synonyms
        self.objects = list(synonyms)
        self.normalise = self.lemmas if variant == "pos_lemma" else self.singulars
        self.uninflected = singularise._WITHOUT_PLURAL.split()
        self.rules = [(re.compile(f"({before}){end}$", re.IGNORECASE), new) for before, end, new in singularise.RULES]
        self.tagger = nltk.tag._get_tagger("eng")  # loading it for every caption would be unfair
        self.lemmatizer = WordNetLemmatizer()

    def lemmas(self, words: Sequence[str]) -> list[str]:
        kinds = {"J": "a", "V": "v", "N": "n", "R": "r"}
        return [self.lemmatizer.lemmatize(word, kinds.get(tag[0], "n")) for word, tag in self.tagger.tag(words)]

    def singulars(self, words: Sequence[str]) -> list[str]:
        return [self.singular(word) for word in words]

    def singular(self, word: str) -> str:
        """pattern's procedure: every list and every rule in turn."""
        first, hyphen, rest = word.partition("-")
        if hyphen and rest.split("-")[0] in singularise.PREPOSITIONS:
            return f"{self.singular(first)}-{rest}"
        if word.endswith("'"):
            return f"{self.singular(word[:-1])}'s"
        lowered = word.lower()
        for uninflected in self.uninflected:
            if uninflected.endswith(lowered):
                return word
        for plural in singularise.IE_PLURALS:
            if lowered.endswith(plural):
                return lowered
        for plural, singular in singularise.IRREGULAR.items():
            if lowered.endswith(plural):
                return re.sub(f"(?i){plural}$", singular, word)
        for rule, new in self.rules:
            if rule.search(word):
                return rule.sub(rf"\g<1>{new}", word)
        return word

    def objects_of(self, caption: str) -> list[str]:
        """Categories of the mentions."""
        words = self.normalise(nltk.word_tokenize(caption.lower()))
        joined = []
        at = 0
        while at < len(words):
            pair = " ".join(words[at : at + 2])
            joined.append(CHAIR_DOUBLE_WORDS.get(pair, words[at]))
            at += 2 if pair in CHAIR_DOUBLE_WORDS else 1
        if "toilet" in joined and "seat" in joined:
            joined = [word for word in joined if word != "seat"]
        places = [at for at, word in enumerate(joined) if word in set(self.objects)]
        named = [word for word in joined if word in set(self.objects)]
        assert len(places) == len(named)
        return [self.synonyms[word] for word in named]


def forget() -> None:
    """Empty every cache of ours; the models stay loaded."""
    for tokenizer in (text._tokenizer(), text._plain_tokenizer()):
        tokenizer.chunks.clear()
        tokenizer.pairs.clear()
    for memory in text._tagger().memories:
        memory.clear()
    text.lemma.cache_clear()
    singularise.singularise.cache_clear()


def seconds(work: Callable[[str], object], captions: Sequence[str]) -> float:
    """CPU seconds for all captions."""
    start = time.process_time()
    for caption in captions:
        work(caption)
    return time.process_time() - start


def measure(variant: Variant, captions: Sequence[str], synonyms: dict[str, str]) -> list[Row]:
    """Rows for a cold and a warm pass.

    Raises:
        AssertionError: if ours and the baseline do not find the same objects.
    """
    baseline = Baseline(synonyms, variant)
    vocabulary = Vocabulary(synonyms, CHAIR_DOUBLE_WORDS)
    warm_up = MentionFinder(vocabulary, variant)
    for caption in captions[:2]:
        assert [mention.object for mention in warm_up.find(caption).mentions] == baseline.objects_of(caption)
    part = captions[:: max(1, len(captions) // 500)]  # the baseline is slow: in all its turns a sixth of the captions
    baseline.objects_of(captions[0])
    gc.collect()
    gc.freeze()
    turns = []
    for turn in range(TURNS):
        own = part[turn::TURNS]
        forget()
        score = partial(score_caption, reference_objects=("person",), finder=MentionFinder(vocabulary, variant))
        theirs = len(own) / seconds(baseline.objects_of, own)
        turns += [(name, theirs, len(captions) / seconds(score, captions)) for name in ("cold", "warm")]
    gc.unfreeze()
    for caption in part:
        assert [mention.object for mention in warm_up.find(caption).mentions] == baseline.objects_of(caption)
    names = {name: f"CHAIR {variant}, {name}" for name in ("cold", "warm")}
    return [_median(title, [turn for turn in turns if turn[0] == name]) for name, title in names.items()]


def _median(name: str, turns: Sequence[tuple[str, float, float]]) -> Row:
    """The medians of what the turns measured, each for itself."""
    theirs, ours = (statistics.median(turn[side] for turn in turns) for side in (1, 2))
    return name, theirs, ours, statistics.median(turn[2] / turn[1] for turn in turns)


def tokens_tags(captions: Sequence[str]) -> list[Row]:
    """The text functions alone: tokens, and tags of all tokens."""
    part = captions[::6]
    tagger = nltk.tag._get_tagger("eng")
    words = [nltk.word_tokenize(caption) for caption in part]
    forget()
    rows = []
    for name, theirs, ours, inputs in (
        ("tokens, cold", nltk.word_tokenize, text.tokenize, part),
        ("tags, cold", tagger.tag, text.tag, words),
    ):
        slow = len(inputs) / seconds(theirs, inputs)
        fast = len(inputs) / seconds(ours, inputs)
        rows.append((name, slow, fast, fast / slow))
    return rows


def main() -> list[Row]:
    """Measure, print a table, return its rows."""
    captions = opera_captions()
    synonyms = read_synonyms(ASSETS / "chair" / "synonyms.txt")
    rows = [row for variant in ("pos_lemma", "singularize") for row in measure(variant, captions, synonyms)]
    rows += tokens_tags(captions)
    print(f"{len(captions)} captions; captions per second, one core; medians of {TURNS} turns")
    print(f"{'':<28}{'plain NLTK':>12}{'ours':>12}{'ratio':>8}")
    for name, theirs, ours, ratio in rows:
        limit = f"    limit {LIMIT:g}x" if name.startswith("CHAIR") and name.endswith("cold") else ""
        print(f"{name:<28}{theirs:>12,.0f}{ours:>12,.0f}{ratio:>7.1f}x{limit}")
    bound = len(captions) / min(seconds(lambda caption: caption.lower().split(), captions) for _ in range(TURNS))
    print(f"bound: cutting the same captions at blanks and nothing else, {bound:,.0f}")
    return rows


if __name__ == "__main__":
    main()
