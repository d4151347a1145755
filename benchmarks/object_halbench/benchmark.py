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
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from benchmarks.judges.prompts import JudgePrompt, PinnedPrompt, PromptChoice, judge_prompt
from benchmarks.object_halbench.counting import (
    answer_places,
    answer_text,
    cut_counts,
    disjoint,
    is_short,
    label,
    object_names,
    occurrences,
    review_figures,
    scored,
    summary_figures,
)
from benchmarks.object_halbench.files import (
    IMAGE_SPLITS,
    SPLITS,
    Question,
    build_ground_truth,
    extract_images,
    read_ground_truth,
    read_questions,
    truth_hash_rows,
)
from benchmarks.object_halbench.phrases import AnalyserName, NltkAnalyser, PhraseAnalyser, choose_analyser
from benchmarks.object_halbench.replies import UnreadableReplyError, read_safe, read_strict, strict_names
from benchmarks.object_halbench.stored import stored_words
from benchmarks.object_halbench.words import NamedObject, ObjectTable
from benchmarks.objects.coco import ANNOTATIONS, find_images
from benchmarks.objects.ready import mismatch
from evalkit.benchmark import DataFile, Front, Judged, Result, check_number, content_digest, summed
from evalkit.errors import DataError
from evalkit.files.assets import asset
from evalkit.files.cache import cache_folder
from evalkit.formats import exporters
from evalkit.formats.answers import IMAGE_ANSWERS
from evalkit.formats.given import check_objects, failed, references_of, spoken
from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Finding, Item, Json, Prompt, Sample, Score

ITEMS = 300
GIVE_UP = "-1\n<no_response>"  # what the authors' script stores after 100 failed attempts, and then stumbles over

# eval/eval_gpt_obj_halbench.py of RLHF-V/RLAIF-V at 83d917b; the same text in RLHF-V/RLHF-V at 8daac8a.
EXTRACTOR = PinnedPrompt(
    script="object_halbench/eval_gpt_obj_halbench.py",
    variable="prompt_template",
    sha256="9d732f9b73a3cc965bee6eb163b8e5248e58bd9d382eb583e9ece59933e2b580",
    own="object_halbench_extractor",
)

Reading = Literal["safe", "strict"]


class ObjectHalBench(Judged):
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
    files = (
        DataFile(
            "data",
            "object_halbench/obj_halbench_300_with_image.jsonl",
            "eval/data/obj_halbench_300_with_image.jsonl of RLHF-V/RLAIF-V (63.5 MB, images inside)",
        ),
        ANNOTATIONS,
    )
    formats = (IMAGE_ANSWERS.named("object_halbench"),)
    exports = (exporters.IMAGE_ANSWERS.named("object_halbench"),)
    present = ("objects",)

    def __init__(
        self,
        data: Path | None = None,
        synonyms: Path | ObjectTable | None = None,
        annotations: Path | None = None,
        references: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        extractor: Literal["judge", "lemma"] = "judge",
        reading: Reading = "safe",
        analyser: AnalyserName | PhraseAnalyser = "auto",
        prompt: PromptChoice = "auto",
        prompt_script: Path | None = None,
        splits: Sequence[str] = SPLITS,
        partial: bool = False,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            data: obj_halbench_300_with_image.jsonl, or its lines without images. Default: the official file; with
                `images` or `without_images` its metadata.
            synonyms: synonyms_refine.txt (default: the official file), or chair_mapping.mergeall.correct_0406.json.
            annotations: folder of COCO's 2014 annotations, from which the reference objects are built.
            references: or a ready file of them, JSON {image id: [categories]}.
            images: where the embedded images are extracted to; for a file without images, the folder of COCO images.
                Default: a folder of the cache.
            without_images: items without images, enough to score responses made elsewhere.
            extractor: "judge", or "lemma" for the path without a judge.
            reading: how replies of the extractor are read.
            analyser: how extracted phrases are read.
            prompt: the authors' extractor prompt, this project's own, or the latter only if the former is not here.
            prompt_script: the authors' eval_gpt_obj_halbench.py; default: the official file.
            splits: COCO splits whose annotations are merged.
            partial: accept another number of items than 300.
        """
        self.images, self._data, self._synonyms = images, data, synonyms
        self.annotations, self.references, self.splits = annotations, references, tuple(splits)
        self.extractor, self.reading, self.partial = extractor, reading, partial
        self.prompt_choice, self.prompt_script, self.without_images = prompt, prompt_script, without_images
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
            prompt="own",
            splits=("mini",),
            partial=True,
        )

    @classmethod
    def evaluate(
        cls,
        responses: Mapping[int, str | None],
        references: Mapping[int, Collection[str]],
        synonyms: Path | Mapping[str, str] | ObjectTable | None = None,
        replies: Mapping[int, str | None] | None = None,
        reading: Reading = "safe",
        analyser: AnalyserName | PhraseAnalyser = "auto",
    ) -> Result:
        """Score responses against reference objects; no model, no image, no torch.

        >>> result = ObjectHalBench.evaluate(
        ...     responses={7: "A puppy sleeps beside a cat."}, references={7: ["dog"]},
        ...     synonyms={"dog": "dog", "puppy": "dog", "cat": "cat"},
        ...     replies={7: '["puppy", "cat"]'}, analyser="nltk",
        ... )
        >>> result.metrics["chair_s_refine"], result.metrics["chair_i"], result.metrics["recall"]
        (100.0, 50.0, 100.0)

        Args:
            responses: image id -> response; None (or NaN) for a failed one.
            references: image id -> categories in the image.
            synonyms: the table, word -> category, or the table's file; None for the official one.
            replies: image id -> the extractor's reply; without them, the path without a judge.
        Raises:
            DataError: for an image id without reference objects, or references that are not lists of categories.
        """
        answers = spoken(responses, cls.name)
        if unknown := sorted(set(answers) - set(references_of(references, cls.name))):
            raise DataError(f"no reference objects of {len(unknown)} images, e.g. image_id {unknown[0]}")
        table = ObjectTable.of(synonyms) if isinstance(synonyms, Mapping) else synonyms
        extractor: Literal["judge", "lemma"] = "lemma" if replies is None else "judge"
        bench = cls(synonyms=table, extractor=extractor, reading=reading, analyser=analyser)
        reply_of = spoken(replies or {}, f"{cls.name}: replies")
        scores: dict[int, Score] = {}
        for image, said in answers.items():
            check_objects(references[image], bench.table.objects, f"references of image {image}")
            item = Item(str(image), "", None, {"objects": sorted(references[image])})
            reply = reply_of[image].answer if image in reply_of else None
            scores[image] = failed(said) if said.answer is None else bench.score(item, said.answer, reply)
        return summed(cls.metrics, scores)

    @cached_property
    def table(self) -> ObjectTable:
        """Synonyms and double words."""
        if isinstance(self._synonyms, ObjectTable):
            return self._synonyms
        return ObjectTable.read(self._synonyms or asset("object_halbench/synonyms_refine.txt"))

    @cached_property
    def data(self) -> Path:
        """The question file."""
        metadata_is_enough = self.images is not None or self.without_images
        name = "obj_halbench_300_meta.jsonl" if metadata_is_enough else "obj_halbench_300_with_image.jsonl"
        return self._data or asset(f"object_halbench/{name}")

    @cached_property
    def analyser(self) -> PhraseAnalyser:
        """What reads the extracted phrases; loaded on first use."""
        return choose_analyser(self._analyser) if isinstance(self._analyser, str) else self._analyser

    @cached_property
    def extractor_prompt(self) -> JudgePrompt:
        """The extractor's template."""
        return judge_prompt(EXTRACTOR, self.prompt_choice, self.prompt_script)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        questions = read_questions(self.data)
        check_number(len(questions), ITEMS, self.data, self.partial, "items")
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
            return extract_images(questions, self.images or _image_cache(self.data))
        if self.images is None:
            raise DataError(
                f"{self.data} holds no images; name the folder of COCO val2014 images with `images`, "
                "or set without_images to score responses made elsewhere"
            )
        return find_images(self.images, [question.image_id for question in questions], IMAGE_SPLITS)

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

    def remarks(self) -> Sequence[str]:
        """That ready reference objects were made with another reading of captions, where it is so."""
        return mismatch(self.references, "lemma_noun", "the official ones, or COCO's annotations, give the benchmark's")

    def fronts(self) -> Sequence[Front]:
        """Responses cut short, compared at equal recall."""
        return (Front("recall", ("chair_s_refine", "chair_i", "chair_s")),)

    def count_cuts(self, sample: Sample, ends: Sequence[int]) -> Sequence[Mapping[str, float]]:
        """Cuts with the objects that the extractor found in the whole response, as far as the kept text names them."""
        if self.extractor == "lemma":
            return super().count_cuts(sample, ends)
        response, details = sample.response.text or "", sample.score.details
        extracted, words = details.get("extracted"), details.get("objects", [])
        nouns = self._nouns(extracted) if extracted is not None else {word: [word] for word in words}
        return cut_counts(nouns, response, ends, frozenset(sample.item.reference["objects"]), self.table)

    def settings(self) -> Mapping[str, str]:
        """What moves a score: items, references, words, and how objects are found in a response."""
        truth = {int(item.id): frozenset(item.reference["objects"]) for item in self._items}
        common = {
            "data": content_digest(f"{item.id} {item.question}" for item in self._items),
            "gt": content_digest(truth_hash_rows(truth)),
            "synonyms": content_digest(
                f"{word} {category}" for word, category in sorted(self.table.categories.items())
            ),
            "extractor": self.extractor,
        }
        if self.extractor == "lemma":
            return common
        return common | {
            "reading": self.reading,
            "phrases": self.analyser.name,
            "prompt": self.extractor_prompt.name,
        }

    def libraries(self) -> Sequence[str]:
        """NLTK, where it reads the response or the extracted phrases; what it read of human captions is in `gt`."""
        reads = self.extractor == "lemma" or isinstance(self.analyser, NltkAnalyser)
        return ("nltk", "nltk_data") if reads else ()

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
            if stored_words(reply, self.table.categories) is None:
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
            stored = stored_words(reply, self.table.categories)
            if stored is not None:
                words = {word: [word] for word in stored}
                return self._score_names(words, answer, response, reference, {"extracted": None, "reply": reply})
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
            Finding(match.start(), match.end(), label(one.category, reference), one.category)
            for one in named
            for match in occurrences([*nouns[one.word], one.word], response)
        ]
        return scored(named, answer, reference, disjoint(findings), {**details, "objects": list(nouns)})

    def _score_words(self, answer: str, response: str, reference: frozenset[str]) -> Score:
        mentions = self.table.finder.find(answer).mentions
        place = answer_places(response)
        findings = [
            Finding(place[m.start], place[m.end - 1] + 1, label(m.object, reference), m.object) for m in mentions
        ]
        named = [NamedObject(m.word, m.object, m.index) for m in mentions]
        return scored(named, answer, reference, findings, {})

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The figures of the authors' review file and of their summary script, over the scored samples."""
        counts = [sample.score.counts for sample in samples if sample.score.counts is not None]
        review = review_figures(counts)
        return {
            "review": review,
            "summary": summary_figures(review),
            "complete": len(counts) == len(samples) == ITEMS,
            "left_out": [sample.item.id for sample in samples if sample.score.counts is None],
        }


def _image_cache(data: Path) -> Path:
    """Where the images of a data file are extracted to; files of different content never share a folder."""
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache_folder() / "images" / f"{ObjectHalBench.name}-{digest[:8]}"


class _RunStoppedError(ValueError):
    """A reply that the authors' script accepts but crashes on; the message names the stage."""
