"""Object HalBench: object hallucination in long descriptions (RLHF-V, Yu et al. 2024, arXiv:2312.00849; RLAIF-V).

Item        one of 300 COCO val2014 images with one of eight requests for a detailed description
Judge       an extractor: an LLM lists the objects that the response names; their phrases are reduced to noun lemmas
Reference   COCO categories from instance masks and from the five human captions
chair_s_refine  responses with a hallucinated object / responses that name a COCO object, %: the published "Resp."
chair_i         hallucinated mentions / mentions, %: the published "Ment."; a word counts once per response
chair_s         responses with a hallucinated object / all responses, %
recall          distinct correct categories / reference categories, %
length          words per response (blanks + 1, as the authors count)

Two readings of the extractor's reply: `safe` (default) asks again and then leaves the sample out; `strict` is the
authors' script with its bugs, where some replies stop the whole run: here they are failures that say at which stage.
`extractor="lemma"` is the authors' path without a judge: the words of the response themselves, as noun lemmas.
Decoding: the authors of RLAIF-V answer with 3 beams; the default here is greedy, which every engine offers.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from benchmarks.judge_prompts import JudgePrompt, PinnedPrompt, official_prompt, own_prompt
from benchmarks.object_halbench_data import (
    SPLITS,
    Question,
    build_ground_truth,
    extract_images,
    find_images,
    read_ground_truth,
    read_questions,
    truth_hash_rows,
)
from benchmarks.object_lists import UnreadableReplyError, read_safe, read_strict, strict_names
from benchmarks.object_words import NamedObject, ObjectTable
from benchmarks.phrases import AnalyserName, PhraseAnalyser, choose_analyser, noun_runs
from evalkit.cache import cache_folder
from evalkit.errors import DataError
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Finding, Item, Json, Prompt, Sample, Score

ITEMS = 300
SHORT_ANSWER = 3  # words; up to so many, the extractor is not asked
GIVE_UP = "-1\n<no_response>"  # what the authors' script stores after 100 failed attempts, and then stumbles over

# eval/eval_gpt_obj_halbench.py of RLHF-V/RLAIF-V at 83d917b; the same text in RLHF-V/RLHF-V at 8daac8a.
EXTRACTOR = PinnedPrompt("prompt_template", "9d732f9b73a3cc965bee6eb163b8e5248e58bd9d382eb583e9ece59933e2b580")

Reading = Literal["safe", "strict"]


class ObjectHalBench:
    """Object HalBench as a benchmark of the harness."""

    name = "object_halbench"
    metrics: Sequence[Metric] = (
        Metric("chair_s_refine", "100 * hallucinated_responses / object_responses", False, role="rate"),
        Metric("chair_i", "100 * hallucinated_mentions / mentions", False, role="rate"),
        Metric("chair_s", "100 * hallucinated_responses / responses", False, role="rate"),
        Metric("recall", "100 * recalled_objects / reference_objects", True),
        Metric("length", "words / responses", None, unit="words", role="length"),
    )
    sampling = Sampling(max_new_tokens=1024)

    def __init__(
        self,
        data: Path,
        synonyms: Path,
        annotations: Path | None = None,
        references: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        extractor: Literal["judge", "lemma"] = "judge",
        reading: Reading = "safe",
        analyser: AnalyserName | PhraseAnalyser = "auto",
        prompt_script: Path | None = None,
        splits: Sequence[str] = SPLITS,
        partial: bool = False,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            data: obj_halbench_300_with_image.jsonl, or its lines without images.
            synonyms: synonyms_refine.txt, or chair_mapping.mergeall.correct_0406.json.
            annotations: folder of COCO's 2014 annotations, from which the reference objects are built.
            references: or a ready file of them, JSON {image id: [categories]}.
            images: where the embedded images are extracted to; for a file without images, the folder of COCO images.
                Default: a folder of the cache.
            without_images: items without images, enough to score responses made elsewhere.
            extractor: "judge", or "lemma" for the path without a judge.
            reading: how replies of the extractor are read.
            analyser: how extracted phrases are read.
            prompt_script: the authors' eval_gpt_obj_halbench.py; without it this project's own prompt is used.
            splits: COCO splits whose annotations are merged.
            partial: accept another number of items than 300.
        """
        self.data, self.synonyms, self.images = data, synonyms, images
        self.annotations, self.references, self.splits = annotations, references, tuple(splits)
        self.extractor, self.reading, self.partial = extractor, reading, partial
        self.prompt_script, self.without_images = prompt_script, without_images
        self._analyser = analyser

    @classmethod
    def miniature(cls, world: Path, extractor: Literal["judge", "lemma"] = "judge", reading: Reading = "safe") -> Self:
        """The benchmark over a miniature world's files."""
        return cls(
            data=world / "object_halbench" / "obj_halbench_with_image.jsonl",
            images=world / "object_halbench" / "images",
            synonyms=world / "synonyms.txt",
            annotations=world / "annotations",
            extractor=extractor,
            reading=reading,
            analyser="nltk",
            splits=("mini",),
            partial=True,
        )

    @cached_property
    def table(self) -> ObjectTable:
        """Synonyms and double words."""
        return ObjectTable.read(self.synonyms)

    @cached_property
    def analyser(self) -> PhraseAnalyser:
        """What reads the extracted phrases; loaded on first use."""
        return choose_analyser(self._analyser) if isinstance(self._analyser, str) else self._analyser

    @cached_property
    def extractor_prompt(self) -> JudgePrompt:
        """The extractor's template: the authors' where their script is given, else our own."""
        if self.prompt_script is not None:
            return official_prompt(self.prompt_script, EXTRACTOR)
        return own_prompt("object_halbench_extractor")

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        questions = read_questions(self.data)
        if len(questions) != ITEMS and not self.partial:
            raise DataError(f"{self.data}: expected {ITEMS} items, found {len(questions)}; say partial to accept that")
        image_ids = [question.image_id for question in questions]
        truth = self._truth(image_ids)
        return tuple(
            Item(str(q.image_id), q.question, image, {"objects": sorted(truth[q.image_id])})
            for q, image in zip(questions, self._images(questions), strict=True)
        )

    def _images(self, questions: Sequence[Question]) -> Sequence[ImageFile | None]:
        if self.without_images:
            return [None] * len(questions)
        if questions[0].image is not None:
            return extract_images(self.data, questions, self.images or _image_cache(self.data))
        if self.images is None:
            raise DataError(f"{self.data} holds no images; name the folder of COCO val2014 images with `images`")
        return find_images(questions, self.images)

    def _truth(self, image_ids: Sequence[int]) -> dict[int, frozenset[str]]:
        if (self.references is None) == (self.annotations is None):
            raise DataError(f"{self.name}: give the reference objects either as `annotations` or as `references`")
        if self.references is not None:
            return read_ground_truth(self.references, self.table, image_ids)
        assert self.annotations is not None
        return build_ground_truth(self.annotations, self.table, image_ids, self.splits)

    def items(self) -> Sequence[Item]:
        """The questions with their images and reference objects, in file order.

        Raises:
            DataError: if a file is missing or malformed, or there are not 300 items.
        """
        return self._items

    def prompt(self, item: Item) -> Prompt:
        """The question, after the image."""
        return Prompt(item.id, item.question, (item.image,) if item.image else ())

    def settings(self) -> Mapping[str, str]:
        """What moves a score: items, references, words, and how objects are found in a response."""
        truth = {int(item.id): frozenset(item.reference["objects"]) for item in self._items}
        common = {
            "data": _hash8(f"{item.id} {item.question}" for item in self._items),
            "gt": _hash8(truth_hash_rows(truth)),
            "synonyms": hashlib.sha256(self.synonyms.read_bytes()).hexdigest()[:8],
            "extractor": self.extractor,
        }
        if self.extractor == "lemma":
            return common
        return common | {
            "reading": self.reading,
            "phrases": self.analyser.name,
            "prompt": self.extractor_prompt.name,
        }

    def judge_prompt(self, item: Item, response: str) -> Prompt | None:
        """One system message that holds question and response; none for up to three words, or without a judge."""
        answer = answer_text(response)
        if self.extractor == "lemma" or is_short(answer):
            return None
        text = self.extractor_prompt.template.replace("{question}", item.question).replace("{answer}", answer)
        return Prompt(item.id, text="", system=text)

    def judge_sampling(self) -> Sampling:
        """As the authors ask their extractor."""
        return Sampling(temperature=0.2, max_new_tokens=512)

    def check_reply(self, reply: str) -> str | None:
        """Why a reply holds no list of objects, or None."""
        try:
            read_safe(reply) if self.reading == "safe" else read_strict(reply)
        except UnreadableReplyError as error:
            return str(error)
        return None

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Count the objects that a response names, and those that the image does not hold."""
        answer = answer_text(response)
        reference = frozenset(item.reference["objects"])
        if self.extractor == "lemma":
            return self._score_words(answer, response, reference)
        if is_short(answer):
            return self._score_names({}, answer, response, reference, details={"extracted": None})
        if reply is None:
            return Score(counts=None, failure="no reply of the extractor")
        try:
            names = read_safe(reply) if self.reading == "safe" else self._strict_names(reply)
        except UnreadableReplyError as error:
            stage = "" if self.reading == "safe" else "after-100-attempts: AssertionError stops the authors' run: "
            return Score(counts=None, failure=f"{stage}{error}", details={"reply": reply})
        except _RunStoppedError as error:
            return Score(counts=None, failure=str(error), details={"reply": reply})
        return self._score_names(self._nouns(names), answer, response, reference, {"extracted": names, "reply": reply})

    def _strict_names(self, reply: str) -> list[str]:
        value = read_strict(reply)
        if value == GIVE_UP:
            raise _RunStoppedError(
                "phrase-analysis: AssertionError stops the authors' run: the reply is their own mark"
            )
        try:
            return strict_names(value)
        except TypeError as error:
            raise _RunStoppedError(f"phrase-analysis: TypeError stops the authors' run: {error}") from error

    def _nouns(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Noun -> the phrases it came from, nouns in order of first appearance."""
        nouns: dict[str, list[str]] = {}
        for phrase in names:
            for noun in object_names(phrase, self.table, self.analyser):
                nouns.setdefault(noun, []).append(phrase)
        return nouns

    def _score_names(
        self,
        nouns: Mapping[str, Sequence[str]],
        answer: str,
        response: str,
        reference: frozenset[str],
        details: Mapping[str, Json],
    ) -> Score:
        named = self.table.named(list(nouns))
        findings = [
            Finding(match.start(), match.end(), _label(one.category, reference), one.category)
            for one in named
            for match in _occurrences([*nouns[one.word], one.word], response)
        ]
        return _scored(named, answer, reference, _disjoint(findings), {**details, "objects": list(nouns)})

    def _score_words(self, answer: str, response: str, reference: frozenset[str]) -> Score:
        mentions = self.table.finder.find(answer).mentions
        place = _answer_places(response)
        findings = [
            Finding(place[m.start], place[m.end - 1] + 1, _label(m.object, reference), m.object) for m in mentions
        ]
        named = [NamedObject(m.word, m.object, m.index) for m in mentions]
        return _scored(named, answer, reference, findings, {})

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The figures of the authors' review file and of their summary script, over the scored samples."""
        scored = [sample.score.counts for sample in samples if sample.score.counts is not None]
        review = review_figures(scored)
        return {
            "review": review,
            "summary": summary_figures(review),
            "complete": len(scored) == len(samples) == ITEMS,
            "left_out": [sample.item.id for sample in samples if sample.score.counts is None],
        }


def _image_cache(data: Path) -> Path:
    """Where the images of a data file are extracted to; files of different content never share a folder."""
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache_folder() / "images" / f"{ObjectHalBench.name}-{digest[:8]}"


class _RunStoppedError(ValueError):
    """A reply that the authors' script accepts and then dies of; the message names the stage."""


def answer_text(response: str) -> str:
    """A response as the authors read it: without every "Assistant:", stripped."""
    return response.replace("Assistant:", "").strip()


def is_short(answer: str) -> bool:
    """Whether an answer is too short for the extractor."""
    return len(answer.split()) <= SHORT_ANSWER


def object_names(phrase: str, table: ObjectTable, analyser: PhraseAnalyser) -> list[str]:
    """Object nouns of one extracted phrase: its double words alone if it has any, else its runs of nouns."""
    tokens = analyser.analyse(phrase)
    return table.double_words_in([token.lemma for token in tokens]) or noun_runs(tokens)


def _scored(
    named: Sequence[NamedObject],
    answer: str,
    reference: frozenset[str],
    findings: Sequence[Finding],
    details: Mapping[str, Json],
) -> Score:
    hallucinated = [one for one in named if one.category not in reference]
    return Score(
        counts={
            "responses": 1,
            "object_responses": int(bool(named)),
            "hallucinated_responses": int(bool(hallucinated)),
            "mentions": len(named),
            "hallucinated_mentions": len(hallucinated),
            "recalled_objects": len({one.category for one in named} & reference),
            "reference_objects": len(reference),
            "words": len(answer.split(" ")),
        },
        findings=tuple(findings),
        details={
            **details,
            "mentions": [[one.word, one.category] for one in named],
            "hallucinated": [[one.word, one.category] for one in hallucinated],
            "hallucination_idxs": [one.index for one in hallucinated],
        },
    )


def _label(category: str, reference: frozenset[str]) -> str:
    return "correct" if category in reference else "hallucinated"


def _occurrences(names: Sequence[str], response: str) -> list[re.Match[str]]:
    """Where a response holds one of the names, singular or plural, as whole words."""
    longest_first = sorted({name for name in names if name.strip()}, key=lambda name: (-len(name), name))
    if not longest_first:
        return []
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?:e?s)?(?!\w)"
    return list(re.finditer(pattern, response, re.IGNORECASE))


def _disjoint(findings: Sequence[Finding]) -> list[Finding]:
    """Drop findings inside an earlier, longer one ("table" in "coffee table"); sorted by place."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start - f.end, f.start)):
        if all(finding.end <= other.start or other.end <= finding.start for other in kept):
            kept.append(finding)
    return sorted(kept, key=lambda f: f.start)


def _answer_places(response: str) -> list[int]:
    """For each character of the answer text, its place in the response."""
    marks = {index for match in re.finditer("Assistant:", response) for index in range(*match.span())}
    kept = [index for index in range(len(response)) if index not in marks]
    text = "".join(response[index] for index in kept)
    lead = len(text) - len(text.lstrip())
    return kept[lead : lead + len(text.strip())]


def review_figures(counts: Sequence[Mapping[str, float]]) -> dict[str, Json]:
    """`overall_metrics` of the authors' review file, as fractions; None where their script divides by zero.

    Args:
        counts: of every scored sample.
    """
    sums = sum_counts(counts)

    def ratio(above: str, below: str) -> float | None:
        return sums.get(above, 0.0) / sums[below] if sums.get(below) else None

    chair_s_refine = ratio("hallucinated_responses", "object_responses")
    chair_i = ratio("hallucinated_mentions", "mentions")
    return {
        "CHAIRs": ratio("hallucinated_responses", "responses"),
        "CHAIRs_refine": chair_s_refine,
        "CHAIRi": chair_i,
        "obj_rec": ratio("recalled_objects", "reference_objects"),
        "sentence_num": float(sums.get("responses", 0)),
        "coco_sentence_num": float(sums.get("object_responses", 0)),
        "coco_word_count": float(sums.get("recalled_objects", 0)),
        "gt_word_count": float(sums.get("reference_objects", 0)),
        "avg_word_len": ratio("words", "responses"),
        "correct_rate": None if chair_s_refine is None else 1 - chair_s_refine,
        "object_correct_rate": None if chair_i is None else 1 - chair_i,
    }


def summary_figures(review: Mapping[str, Json]) -> dict[str, Json]:
    """What the authors' summary script prints: percent with two decimals, counts as they are."""

    def percent(name: str) -> str | None:
        return None if review[name] is None else f"{review[name] * 100:.2f}"

    length = review["avg_word_len"]
    return {
        "Response Hall": percent("CHAIRs_refine"),
        "Object Hall": percent("CHAIRi"),
        "Response Correct": percent("correct_rate"),
        "Object Correct": percent("object_correct_rate"),
        "Object Recall": percent("obj_rec"),
        "Average Length": None if length is None else f"{length:.2f}",
        "COCO Sent Number": review["coco_sentence_num"],
        "COCO Word Number": review["coco_word_count"],
        "GT Word Number": review["gt_word_count"],
    }


def _hash8(rows: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode("utf-8", errors="surrogatepass")).hexdigest()[:8]
