"""AMBER's data files: annotations, queries, associations and safe words, as the authors publish them.

annotations.json      [{"id", "type", "truth", "hallu"}]; truth is a list of words, or "yes"/"no" for a question
query/query_all.json  [{"id", "image", "query"}]; the other query files are parts of it
relation.json         word -> what it may also be called
safe_words.txt        words that are never counted as hallucinated, one a line
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evalkit.benchmark import files_digest
from evalkit.errors import DataError
from evalkit.files.fields import field, read_object, words
from evalkit.files.rows import Row, read_rows, read_text
from evalkit.images import ImageFile
from evalkit.schema import Item, Json

FILES = ("annotations.json", "relation.json", "safe_words.txt", "query/query_all.json")

# type in annotations.json -> (dimension, type here); relation questions answered no have a spelling of their own
TYPES = {
    "generative": ("generative", "generative"),
    "discriminative-hallucination": ("existence", "existence"),
    "discriminative-attribute-state": ("attribute", "state"),
    "discriminative-attribute-number": ("attribute", "number"),
    "discriminative-attribute-action": ("attribute", "action"),
    "discriminative-relation": ("relation", "relation"),
    "relation": ("relation", "relation"),
}


@dataclass(frozen=True)
class AmberFiles:
    """Where the four files lie, and what is in them.

    paths   file name as in FILES -> file
    images  folder of the images; None: items without images
    """

    paths: Mapping[str, Path]
    images: Path | None

    @classmethod
    def locate(cls, folder: Path | None, images: Path | None, without_images: bool = False) -> "AmberFiles":
        """The files in a folder, or among the assets; images are looked for in `image` beside the annotations."""
        if folder is not None:
            paths = {name: folder / name for name in FILES}
        else:
            from evalkit.files.assets import asset

            paths = {name: asset(f"amber/{name}") for name in FILES}
        beside = images or paths["annotations.json"].parent / "image"
        return cls(paths, None if without_images else beside)

    def digest(self) -> str:
        """Eight hex digits for the four files."""
        return files_digest(self.paths[name] for name in FILES)

    def safe_words(self) -> frozenset[str]:
        """Words that are never counted as hallucinated."""
        return frozenset(read_text(self.paths["safe_words.txt"]).split("\n"))

    @cached_property
    def associations(self) -> dict[str, list[str]]:
        """Word -> what it may also be called.

        Raises:
            DataError: if the file is not an object of lists of strings.
        """
        path = self.paths["relation.json"]
        row = Row(str(path), read_object(path))
        return {word: words(row, word) for word in row.fields}

    def items(self) -> tuple[Item, ...]:
        """Every item, in the order of the query file.

        Raises:
            DataError: if a file is missing or malformed, or queries and annotations do not belong together.
        """
        annotations = _by_id(self.paths["annotations.json"])
        queries = _by_id(self.paths["query/query_all.json"])
        odd = sorted(annotations.keys() ^ queries.keys())
        if odd:
            raise DataError(
                f"{self.paths['query/query_all.json']} and {self.paths['annotations.json']} do not belong together: "
                f"{len(odd)} ids stand in one of them only, e.g. {odd[0]}"
            )
        return tuple(self._item(number, row, annotations[number]) for number, row in queries.items())

    def _item(self, number: int, query: Row, annotation: Row) -> Item:
        kind = field(annotation, "type", str)
        if kind not in TYPES:
            raise DataError(f"{annotation.where}: item {number}: unknown type {kind!r}; known: {', '.join(TYPES)}")
        dimension, name = TYPES[kind]
        image = field(query, "image", str)
        return Item(
            id=str(number),
            question=field(query, "query", str),
            image=ImageFile(self.images, image) if self.images is not None else None,
            reference=self._words(annotation) if dimension == "generative" else _polar(number, annotation),
            groups={"dimension": dimension, "type": name},
            cluster=image,
        )

    def _words(self, annotation: Row) -> dict[str, Json]:
        """Objects present and objects likely to be hallucinated; all must be entries of the associations."""
        reference = {name: words(annotation, name) for name in ("truth", "hallu")}
        for word in (*reference["truth"], *reference["hallu"]):
            if word not in self.associations:
                raise DataError(f"{annotation.where}: {word!r} has no entry in {self.paths['relation.json']}")
        return reference


def _by_id(path: Path) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for row in read_rows(path):
        number = field(row, "id", int)
        if number in rows:
            raise DataError(f"{row.where}: id {number} stands already at {rows[number].where}")
        rows[number] = row
    return rows


def _polar(number: int, annotation: Row) -> dict[str, Json]:
    truth = field(annotation, "truth", str)
    if truth not in ("yes", "no"):
        raise DataError(f"{annotation.where}: item {number}: 'truth' must be yes or no, found {truth!r}")
    return {"truth": truth}
