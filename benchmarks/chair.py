"""CHAIR: object hallucination in captions (Rohrbach et al. 2018, arXiv:1809.02156).

Item       an MS-COCO image; prompt "Please describe this image in detail."
Reference  objects from instance masks and from the five human captions, 80 categories
chair_s    responses with a hallucinated mention / responses, in %; lower is better
chair_i    hallucinated mentions / mentions, in %; every repetition counts; lower is better
recall     reference objects that the response names / reference objects, in %
length     words per response after joining double words (the published Len)

Variants   pos_lemma (tagger and WordNet; OPERA, PAI, lmms-eval: most published numbers) and singularize (the authors'
           script, also of HALC and of the POPE paper's CHAIR figures; needs no NLTK data). They differ by up to 3.4
           points of chair_s: never compare across.
Protocol   500 images of val2014, at most 512 new tokens, greedy. Published image lists differ; give yours with
           `image_ids`, else they are drawn with a seed. With 64 tokens, papers drop the unfinished last sentence.
Differs from the authors' scripts: spans are kept; an unknown image id is an error, no empty reference; an empty
denominator gives no value. Everything else agrees with them (see the conformance tests).
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence, Set
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol, Self, get_args

from benchmarks.objects.coco import (
    ANNOTATIONS,
    VAL2014,
    Annotations,
    check_known,
    find_images,
    read_image_ids,
    read_reference_objects,
    sample_image_ids,
)
from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Vocabulary, read_synonyms
from benchmarks.objects.ready import mismatch
from benchmarks.objects.scene_attributes import SceneAttributes
from evalkit.benchmark import Benchmark, Front, Result, summed
from evalkit.errors import DataError, UsageError
from evalkit.files.assets import asset
from evalkit.formats import exporters
from evalkit.formats.answers import CAPTIONS
from evalkit.formats.given import check_objects, failed, references_of, spoken
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Finding, Item, Json, Prompt, Sample, Score

QUESTION = "Please describe this image in detail."
METRICS = (
    Metric("chair_s", "100 * hallucinated_responses / responses", False, role="rate"),
    Metric("chair_i", "100 * hallucinated_mentions / mentions", False, role="rate"),
    Metric("recall", "100 * covered_objects / reference_objects", True),
    Metric("length", "words / responses", None, unit="words", role="length"),
)
Variant = Literal["pos_lemma", "singularize"]  # Object HalBench's way to read words is no variant of CHAIR
VARIANTS: tuple[Variant, ...] = get_args(Variant)
Unfinished = Literal["keep", "drop"]


class Attributes(Protocol):
    """Checks what a response says of the objects it names, and adds counts and findings to its score."""

    @property
    def metrics(self) -> Sequence[Metric]: ...

    def add(self, score: Score, image_id: int, response: str) -> Score: ...


_HALLUCINATED, _CORRECT = "hallucinated", "correct"  # labels of findings
_SENTENCE_END = re.compile(r"[.!?][\"')\]”’]*(?=\s|$)")


def score_caption(response: str, reference_objects: Collection[str], finder: MentionFinder) -> Score:
    """Count a response's mentions, and which of them name an object that is not in the image.

    Args:
        reference_objects: categories that are in the image.
        finder: vocabulary and variant.
    Raises:
        DataError: if the response is no text, or the reference objects are no categories.
    """
    if not isinstance(response, str):
        raise DataError(f"chair: the response must be a text, found {response!r:.60}")
    check_objects(reference_objects, finder.vocabulary.objects, "chair: reference objects")
    reading = finder.find(response)
    objects, reference = [mention.object for mention in reading.mentions], set(reference_objects)
    named = set(objects)
    wrong = named - reference
    return Score(
        counts=_counts(objects, named, wrong, len(reference), reading.words),
        findings=tuple(
            [
                Finding(m.start, m.end, _HALLUCINATED if m.object in wrong else _CORRECT, m.object)
                for m in reading.mentions
            ]
        ),
        details={
            "mentions": [[mention.word, mention.object] for mention in reading.mentions],
            "missed_objects": sorted(reference - named),
        },
    )


def _counts(
    objects: Sequence[str], named: Set[str], wrong: Set[str], reference_objects: int, words: int
) -> dict[str, float]:
    """The summable counts of a response: objects one per mention, the distinct ones, and those not in the image."""
    return {
        "responses": 1,
        "hallucinated_responses": 1 if wrong else 0,
        "mentions": len(objects),
        "hallucinated_mentions": sum([name in wrong for name in objects]) if wrong else 0,
        "covered_objects": len(named) - len(wrong),
        "reference_objects": reference_objects,
        "words": words,
    }


def finished_part(response: str) -> str:
    """The response up to the end of its last finished sentence; empty if it finishes none.

    >>> finished_part("A dog runs. A cat sits. A bird fl")
    'A dog runs. A cat sits.'
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(response)]
    return response[: ends[-1]] if ends else ""


class CHAIR(Benchmark):
    """CHAIR as a benchmark of the harness, and as a plain scorer: `CHAIR.evaluate`."""

    name = "chair"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(max_new_tokens=512)
    files = (VAL2014, ANNOTATIONS)
    formats = (CAPTIONS.named("chair"),)
    exports = (exporters.CAPTIONS.named("chair"),)
    present = ("objects",)

    def __init__(
        self,
        synonyms: Path | None = None,
        annotations: Path | None = None,
        references: Path | None = None,
        images: Path | None = None,
        image_ids: Path | None = None,
        variant: Variant = "pos_lemma",
        question: str = QUESTION,
        splits: Sequence[str] = ("val2014",),
        sample: int = 500,
        sample_seed: int = 0,
        unfinished: Unfinished = "keep",
        attributes: Attributes | None = None,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            synonyms: the table of categories and their synonyms; default: the authors' table, an official asset.
            annotations: folder of instances_<split>.json and captions_<split>.json.
            references: instead of them, a ready file of reference objects, JSON {image id: [categories]}.
            images: folder of the images; without it responses made elsewhere can be scored.
            image_ids: file of image ids; without it, `sample` ids are drawn from the splits or the references.
                Where there are no images either, every known image is an item, so that responses find theirs.
            variant: pos_lemma or singularize, see above.
            splits: COCO splits whose annotations are read.
            sample_seed: decides which ids are drawn.
            unfinished: "drop" removes the unfinished last sentence of a response that ran into the token limit.
            attributes: checks numbers and colours too, where the truth about them is known (a miniature world).
        """
        if annotations is None and references is None:
            raise UsageError("chair: give the reference objects as `annotations` (COCO's files) or `references`")
        if sample < 1:
            raise UsageError(f"chair: sample must be at least 1, got {sample}")
        self.synonyms, self.annotations, self.references = synonyms, annotations, references
        self.images, self.image_ids, self.variant = images, image_ids, _chair_variant(variant)
        self.open_items = images is None and image_ids is None  # any known image may have a response
        self.question, self.splits = question, tuple(splits)
        self.sample, self.sample_seed, self.unfinished = sample, sample_seed, unfinished
        self.attributes = attributes
        if attributes is not None:
            self.metrics = (*METRICS, *attributes.metrics)

    @classmethod
    def miniature(
        cls, world: Path, variant: Variant = "pos_lemma", image_ids: Path | None = None, question: str = QUESTION
    ) -> Self:
        """The benchmark over a miniature world's files; numbers and colours are checked where its scenes are there."""
        return cls(
            synonyms=world / "synonyms.txt",
            annotations=world / "annotations",
            images=world / "images",
            image_ids=image_ids or world / "image_ids.json",
            variant=variant,
            question=question,
            splits=("mini",),
            attributes=SceneAttributes(world) if (world / "scenes.jsonl").exists() else None,
        )

    @classmethod
    def evaluate(
        cls,
        responses: Mapping[int, str | None],
        references: Mapping[int, Collection[str]],
        synonyms: Path | Mapping[str, str] | None = None,
        variant: Variant = "pos_lemma",
    ) -> Result:
        """Score responses against reference objects; no model, no image, no torch.

        >>> result = CHAIR.evaluate(
        ...     responses={7: "A dog on a couch.", 9: "Two dogs and a cat."},
        ...     references={7: ["dog"], 9: ["dog", "cat"]},
        ...     synonyms={"dog": "dog", "puppy": "dog", "cat": "cat", "couch": "couch"},
        ...     variant="singularize",
        ... )
        >>> result.metrics["chair_s"], result.metrics["chair_i"], result.metrics["recall"]
        (50.0, 25.0, 100.0)

        Args:
            responses: image id -> response; None (or NaN) for a failed one.
            references: image id -> categories in the image; more images than responses may be there.
            synonyms: the synonyms table, or word -> category; None for the official table.
        Raises:
            DataError: for an image id without reference objects, or references that are not lists of categories.
            AssetError: if the official table, or NLTK data that the variant needs, cannot be had.
        """
        answers = spoken(responses, cls.name)
        check_known(answers.keys(), references_of(references, cls.name).keys(), "the references")
        table = asset("chair/synonyms.txt") if synonyms is None else synonyms
        words = table if isinstance(table, Mapping) else read_synonyms(Path(table))
        finder = MentionFinder(Vocabulary(words, CHAIR_DOUBLE_WORDS), _chair_variant(variant))
        for image in answers:
            check_objects(references[image], finder.vocabulary.objects, f"chair: references of image {image}")
        scores = {
            image: failed(said) if said.answer is None else score_caption(said.answer, references[image], finder)
            for image, said in answers.items()
        }
        return summed(cls.metrics, scores)

    @cached_property
    def table(self) -> Path:
        """The synonyms table."""
        return self.synonyms or asset("chair/synonyms.txt")

    @cached_property
    def finder(self) -> MentionFinder:
        """Finds mentions with this benchmark's table and variant."""
        return MentionFinder(Vocabulary(read_synonyms(self.table), CHAIR_DOUBLE_WORDS), self.variant)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        file_names: Mapping[int, str] = {}
        source = None
        if self.references is not None:
            known = read_reference_objects(self.references, self.finder.vocabulary.objects)
            image_ids = self._image_ids(known)
            check_known(image_ids, known, str(self.references))
            objects: Mapping[int, Collection[str]] = known
        else:
            assert self.annotations is not None
            source = Annotations(self.annotations, self.splits)
            file_names = source.file_names
            image_ids = self._image_ids(file_names)
            objects = source.reference_objects(image_ids, self.finder)
        boxes = {image: source.boxes(image, self.finder) for image in image_ids} if source is not None else {}
        scenes = source.scenes(image_ids) if source is not None else {}
        images: Sequence[ImageFile | None] = [None] * len(image_ids)
        if self.images is not None:
            images = find_images(self.images, image_ids, self.splits, file_names)
        return tuple(
            self._item(image_id, objects[image_id], image, boxes.get(image_id, []), scenes.get(image_id))
            for image_id, image in zip(image_ids, images, strict=True)
        )

    def _image_ids(self, known: Collection[int]) -> list[int]:
        if self.image_ids is not None:
            return sorted(read_image_ids(self.image_ids))
        if self.images is None:
            return sorted(known)
        return sample_image_ids(known, self.sample, self.sample_seed)

    def _item(
        self,
        image_id: int,
        objects: Collection[str],
        image: ImageFile | None,
        boxes: Sequence[Mapping[str, object]],
        scene: str | None,
    ) -> Item:
        reference: dict[str, Json] = {"image_id": image_id, "objects": sorted(objects)}
        reference |= {"boxes": boxes} if boxes else {}
        reference |= {"scene": scene} if scene else {}
        return Item(str(image_id), self.question, image, reference)

    def items(self) -> Sequence[Item]:
        """One item per image id, ascending: the same images are the same run, in whatever order they are listed.

        Raises:
            DataError: if a file is missing or malformed, an image id is unknown or an image is missing.
        """
        return self._items

    def prompt(self, item: Item) -> Prompt:
        """The image and the request to describe it.

        Raises:
            DataError: if the benchmark was built without images.
        """
        return Prompt(item.id, item.question, () if item.image is None else (item.image,))

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Mentions of the response against the item's reference objects."""
        text = finished_part(response) if self.unfinished == "drop" else response
        score = score_caption(text, item.reference["objects"], self.finder)
        return score if self.attributes is None else self.attributes.add(score, int(item.id), text)

    def count_cuts(self, sample: Sample, ends: Sequence[int]) -> Sequence[Mapping[str, float]]:
        """Mentions in the cut responses, from one reading of the whole; without the counts of `attributes`."""
        text, reference = sample.response.text or "", set(sample.item.reference["objects"])
        if self.unfinished == "drop":
            ends = [len(finished_part(text[:end])) for end in ends]
        counts: list[Mapping[str, float]] = []
        read: list[str] | None = None
        same: dict[str, float] = {}
        for objects, words in self.finder.find_cuts(text, ends):
            if objects != read:
                named = set(objects)
                read, same = objects, _counts(objects, named, named - reference, len(reference), words)
            counts.append({**same, "words": words})
        return counts

    def fronts(self) -> Sequence[Front]:
        """Responses cut short, compared at equal recall."""
        return (Front("recall", ("chair_s", "chair_i")),)

    def settings(self) -> Mapping[str, str]:
        """Everything here that moves a score."""
        data = "+".join(self.splits) if self.references is None else "ready"
        return {
            "data": data,
            "variant": self.variant,
            "synonyms": _short_hash(self.table),
            "references": _short_hash(*self._reference_files()),
            "unfinished": self.unfinished,
        }

    def remarks(self) -> Sequence[str]:
        """That ready reference objects were made with another variant, where it is so."""
        return mismatch(self.references, self.variant, "--variant, or COCO's annotations, make them one")

    def libraries(self) -> Sequence[str]:
        """NLTK cuts responses and human captions into tokens in every variant; `singularize` needs no data of its."""
        return ("nltk",) if self.variant == "singularize" else ("nltk", "nltk_data")

    def _reference_files(self) -> list[Path]:
        if self.references is not None:
            return [self.references]
        assert self.annotations is not None
        return [
            self.annotations / f"{kind}_{split}.json" for kind in ("instances", "captions") for split in self.splits
        ]

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """CHAIRs, CHAIRi and Recall as fractions, Len as words / 100, as the published scripts print them."""
        counts = sum_counts(sample.score.counts for sample in samples if sample.score.counts is not None)
        names = {"chair_s": "CHAIRs", "chair_i": "CHAIRi", "recall": "Recall", "length": "Len"}
        values = {metric.name: metric.value(counts) for metric in self.metrics}
        return {shown: None if (value := values[name]) is None else value / 100 for name, shown in names.items()}


def _chair_variant(variant: str) -> Variant:
    """The variant of that name.

    Raises:
        UsageError: if there is none.
    """
    for known in VARIANTS:
        if variant == known:
            return known
    remedy = "; noun lemmas are object_halbench with extractor=lemma" if variant == "lemma_noun" else ""
    raise UsageError(f"chair: unknown variant {variant!r}; known: {', '.join(VARIANTS)}{remedy}")


def _short_hash(*paths: Path) -> str:
    """The first digits of the sha256 over the files' contents; COCO's have half a gigabyte, so it is remembered."""
    states = []
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        states.append((path, state.st_size, state.st_mtime_ns))
    return _hash_of(tuple(states))


@lru_cache(maxsize=64)
def _hash_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    """The hash of files with a size and a time of change."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
    return digest.hexdigest()[:8]
