"""Malformed data files: COCO's annotations, id lists, references, and the files of every benchmark."""

import base64
import json
from pathlib import Path

from tests.endurance.spoils import (
    AMBER,
    CHAIR,
    DEEP,
    DIGITS,
    HUMAN,
    INSTANCES,
    LINES,
    MMHAL,
    OBJECTS,
    POPE,
    RANDOM,
    TEMPLATE,
    USAGE,
    Case,
    Spoil,
    bomb_png,
    cut,
    encoded,
    entry,
    folder,
    gone,
    line,
    put,
    row,
)


def coco_files() -> list[Case]:
    """Annotation files, id lists, reference objects and synonyms of CHAIR."""
    instances: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "missing": (gone(INSTANCES), ()),
        "empty": (put(INSTANCES, ""), ()),
        "torn": (cut(INSTANCES), ()),
        "a list": (put(INSTANCES, "[]"), ()),
        "a folder": (folder(INSTANCES), ()),
        "UTF-16": (encoded(INSTANCES, "utf-16"), ()),
        "latin-1": (encoded(INSTANCES, "latin-1", "é"), ()),
        "deep": (put(INSTANCES, '{"info": ' + DEEP), ("deep",)),
        "deep images": (put(INSTANCES, '{"images": ' + DEEP), ("images[0]",)),
        "a number of 5000 digits": (put(INSTANCES, '{"images": [{"id": ' + DIGITS + "}]}"), ()),
        "no images": (entry(INSTANCES, None, images=...), ("images",)),
        "images that are an object": (entry(INSTANCES, None, images={}), ("images",)),
        "an image that is a number": (entry(INSTANCES, None, images=[5]), ()),
        "an image without id": (entry(INSTANCES, "images", 0, id=...), ("id",)),
        "an image id that is a text": (entry(INSTANCES, "images", 0, id="first"), ()),
        "an image id that is null": (entry(INSTANCES, "images", 0, id=None), ()),
        "an image id that is NaN": (entry(INSTANCES, "images", 0, id=float("nan")), ()),
        "an image id that is infinite": (entry(INSTANCES, "images", 0, id=float("inf")), ()),
        "an image without file name": (entry(INSTANCES, "images", 0, file_name=...), ("file_name",)),
        "no annotations for an unknown category": (entry(INSTANCES, "annotations", 0, category_id=9999), ("9999",)),
        "an annotation without image": (entry(INSTANCES, "annotations", 0, image_id=...), ("image_id",)),
        "an annotation without category": (entry(INSTANCES, "annotations", 0, category_id=...), ("category_id",)),
        "an annotation that is null": (entry(INSTANCES, None, annotations=[None]), ()),
        "no categories": (entry(INSTANCES, None, categories=...), ("categories",)),
        "a category without name": (entry(INSTANCES, "categories", 0, name=...), ("name",)),
        "a category without synonyms": (lambda: _rename_categories("unicorn"), ("unicorn",)),
    }
    names: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "a file name that leads out": (
            entry(INSTANCES, "images", 0, file_name="../synonyms.txt"),
            ("../synonyms.txt",),
        ),
        "an absolute file name": (entry(INSTANCES, "images", 0, file_name="/etc/hostname"), ("/etc/hostname",)),
        "a file name with NUL": (entry(INSTANCES, "images", 0, file_name="a\0b.png"), ()),
        "a file name that is too long": (entry(INSTANCES, "images", 0, file_name="a" * 5000), ()),
    }
    human: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "missing": (gone(HUMAN), ()),
        "empty": (put(HUMAN, ""), ()),
        "torn": (cut(HUMAN), ()),
        "deep": (put(HUMAN, '{"annotations": ' + DEEP), ()),
        "an annotation without image": (entry(HUMAN, "annotations", 0, image_id=...), ("image_id",)),
        "an annotation without caption": (entry(HUMAN, "annotations", 0, caption=...), ("caption",)),
        "an image id that is a list": (entry(HUMAN, "annotations", 0, image_id=[1]), ()),
        "an annotation that is a text": (entry(HUMAN, None, annotations=["A dog."]), ()),
    }
    ids, table = "world/image_ids.json", "world/synonyms.txt"
    lists: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "empty": (put(ids, ""), (ids, "empty")),
        "an empty list": (put(ids, "[]"), (ids, "no image ids")),
        "torn": (put(ids, "[1, 2,"), (ids,)),
        "an id twice": (put(ids, "[1, 2, 1]"), (ids, "entry 3", "entry 1")),
        "an unknown id": (put(ids, "[1, 2, 77]"), ("77", "world/annotations")),
        "a negative id": (put(ids, "[1, -2]"), (ids, "entry 2")),
        "a fraction": (put(ids, "[1, 2.5]"), (ids, "entry 2")),
        "an entry that is a list": (put(ids, "[1, [2]]"), (ids, "entry 2")),
        "an id of 5000 digits": (put(ids, f"[{DIGITS}]"), (ids,)),
        "an id of 5000 digits as text": (put(ids, f'["{DIGITS}"]'), (ids, "entry 1")),
        "a line that is a word": (put(ids, "1\ntwo\n"), (f"{ids}:2", "'two'")),
        "a torn line": (put(ids, '{"image_id": 1}\n{"image_'), (f"{ids}:2",)),
        "a line without image id": (put(ids, '{"image_id": 1}\n{"id": 2}\n'), (f"{ids}:2",)),
        "deep": (put(ids, DEEP), (ids, "deep")),
        "a folder": (folder(ids), (ids,)),
        "missing": (gone(ids), (ids,)),
    }
    synonyms: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "missing": (gone(table), (table,)),
        "empty": (put(table, ""), (table, "empty")),
        "binary": (put(table, b"\xff\xfe\0a"), (table,)),
        "of other categories": (put(table, "unicorn, horned horse\n"), ("synonyms",)),
        "a folder": (folder(table), (table,)),
        "a picture": (put(table, bomb_png(3, 3)), (table,)),
    }
    references = (
        "score chair --responses captions.jsonl --references given.json --set chair.synonyms=world/synonyms.txt"
    )
    ready: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
        "a list": ("[]", ()),
        "torn": ('{"1": ["dog"', ()),
        "empty": ("", ("empty",)),
        "an empty object": ("{}", ()),
        "no category": ('{"1": ["unicorn"], "2": [], "3": []}', ("unicorn", "image 1")),
        "objects in one text": ('{"1": "dog", "2": [], "3": []}', ("image 1",)),
        "numbers": ('{"1": [1], "2": [], "3": []}', ("image 1",)),
        "a key that is not an id": ('{"first": ["dog"]}', ("'first'",)),
        "a missing image": ('{"1": ["dog"]}', ("captions.jsonl:2",)),
        "UTF-16": ('{"1": ["dog"]}'.encode("utf-16"), ("UTF-8",)),
        "NaN": ('{"1": NaN}', ("image 1", "list")),
    }
    return [
        *(Case(f"instances: {what}", CHAIR, (INSTANCES, *says), spoil) for what, (spoil, says) in instances.items()),
        *(Case(f"instances: {what}", CHAIR, says, spoil) for what, (spoil, says) in names.items()),
        *(Case(f"human captions: {what}", CHAIR, (HUMAN, *says), spoil) for what, (spoil, says) in human.items()),
        *(Case(f"image ids: {what}", CHAIR, says, spoil) for what, (spoil, says) in lists.items()),
        *(Case(f"synonyms: {what}", CHAIR, says, spoil) for what, (spoil, says) in synonyms.items()),
        *(Case(f"references: {what}", references, (*says, *(() if what == "a missing image" else ("given.json",))),
               put("given.json", content)) for what, (content, says) in ready.items()),
        Case("references: missing", references, ("given.json",)),
        Case("chair without references", "score chair --responses captions.jsonl", ("references",), code=USAGE),
    ]  # fmt: skip


def _rename_categories(name: str) -> None:
    content = json.loads(Path(INSTANCES).read_text())
    for category in content["categories"]:
        category["name"] = name
    Path(INSTANCES).write_text(json.dumps(content))


def other_benchmarks() -> list[Case]:
    """Data files of POPE, AMBER, MMHal-Bench and Object HalBench."""
    notes, queries = "world/amber/annotations.json", "world/amber/query/query_all.json"
    relations, safe = "world/amber/relation.json", "world/amber/safe_words.txt"
    at2, at = (f"{RANDOM}:2",), (f"{notes}: entry 1",)
    pope: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "missing": (gone(RANDOM), (RANDOM,)),
        "empty": (put(RANDOM, ""), (RANDOM,)),
        "torn line": (line(RANDOM, 2, '{"question_id": 2, "ima'), at2),
        "no label": (row(RANDOM, 2, label=...), (*at2, "label")),
        "a label of another kind": (row(RANDOM, 2, label="maybe"), (*at2, "maybe")),
        "a label that is true": (row(RANDOM, 2, label=True), (*at2, "label")),
        "a question id that is a text": (row(RANDOM, 2, question_id="2"), (*at2, "question_id")),
        "a question id twice": (row(RANDOM, 2, question_id=1), (*at2, f"{RANDOM}:1")),
        "no image": (row(RANDOM, 2, image=...), (*at2, "image")),
        "a text that is a list": (row(RANDOM, 2, text=[]), (*at2, "text")),
        "two editions": (put(RANDOM + "l", "{}\n"), ("two editions", RANDOM)),
        "AMBER's annotations": (lambda: Path(RANDOM).write_bytes(Path(notes).read_bytes()), (RANDOM,)),
        "a missing image": (row(RANDOM, 2, image="absent.png"), ("absent.png",)),
        "an image that leads out": (row(RANDOM, 2, image="../scenes.jsonl"), ("../scenes.jsonl", "leads out")),
        "an absolute image": (row(RANDOM, 2, image="/etc/hostname"), ("/etc/hostname", "leads out")),
        "an image name with NUL": (row(RANDOM, 2, image="a\0.png"), (".png",)),
        "an image name that is too long": (row(RANDOM, 2, image="a" * 5000), ("aaa",)),
        "an empty image name": (row(RANDOM, 2, image=""), ("image ''",)),
    }
    amber: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "no annotations": (gone(notes), (notes,)),
        "torn annotations": (cut(notes), (notes,)),
        "an id that is a text": (entry(notes, 0, id="1"), (*at, "'id'")),
        "an id twice": (entry(notes, 1, id=1), (f"{notes}: entry 2", "entry 1")),
        "an id without query": (entry(notes, 0, id=99999), ("2 ids", notes, queries)),
        "no type": (entry(notes, 0, type=...), (*at, "type")),
        "an unknown type": (entry(notes, 0, type="poem"), (*at, "poem")),
        "truth of another kind": (entry(notes, 0, truth=5), (*at, "truth")),
        "truth with numbers": (entry(notes, 0, truth=[5]), (*at, "truth")),
        "truth without associations": (entry(notes, 0, truth=["unicorn"]), (*at, "unicorn")),
        "no hallu": (entry(notes, 0, hallu=...), (*at, "hallu")),
        "an answer of another kind": (entry(notes, -1, truth="perhaps"), (notes, "perhaps")),
        "no query": (entry(queries, 0, query=...), (f"{queries}: entry 1", "query")),
        "no image": (entry(queries, 0, image=...), (f"{queries}: entry 1", "image")),
        "no queries": (gone(queries), (queries,)),
        "queries of POPE": (lambda: Path(queries).write_bytes(Path(RANDOM).read_bytes()), (queries, "'id'")),
        "associations: a list": (put(relations, "[]"), (relations,)),
        "associations: torn": (cut(relations), (relations,)),
        "associations: numbers": (put(relations, '{"dog": [1]}'), (relations, "'dog'")),
        "associations: missing": (gone(relations), (relations,)),
        "safe words: missing": (gone(safe), (safe,)),
        "safe words: empty": (put(safe, ""), (safe, "empty")),
        "safe words: UTF-16": (encoded(safe, "utf-16"), (safe, "UTF-8")),
        "a missing image": (entry(queries, 0, image="absent.png"), ("absent.png",)),
    }
    entry3 = (f"{TEMPLATE}: entry 3",)
    mmhal: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "missing": (gone(TEMPLATE), (TEMPLATE,)),
        "torn": (cut(TEMPLATE), (TEMPLATE,)),
        "95 questions": (lambda: _shorten(TEMPLATE, 95), (TEMPLATE, "95")),
        "no question": (entry(TEMPLATE, 2, question=...), (*entry3, "question")),
        "an empty question": (entry(TEMPLATE, 2, question=" "), (*entry3, "question")),
        "labels in one text": (entry(TEMPLATE, 2, image_content="dog"), (*entry3, "image_content")),
        "labels with numbers": (entry(TEMPLATE, 2, image_content=[1]), (*entry3, "image_content")),
        "an image id that is a number": (entry(TEMPLATE, 2, image_id=3), (*entry3, "image_id")),
        "no human answer": (entry(TEMPLATE, 2, gt_answer=None), (*entry3, "gt_answer")),
        "another order": (entry(TEMPLATE, 2, question_type="attribute"), (*entry3, "order")),
        "an image source that leads out": (
            entry(TEMPLATE, 2, image_src="x/..", image_id="../scenes"), ("scenes",)),
        "a missing image": (entry(TEMPLATE, 2, image_src="absent.png", image_id="absent"), (*entry3, "absent")),
        "an image name with NUL": (entry(TEMPLATE, 2, image_src="a\0b.png", image_id="a\0b"), entry3),
        "an image source that is not an address": (entry(TEMPLATE, 2, image_src="http://[x/a.png"), entry3),
        "an embedded image that is not base64": (entry(TEMPLATE, 2, image="???"), (f"{entry3[0]}: 'image'", "base64")),
        "an embedded image that is a number": (entry(TEMPLATE, 2, image=5), (f"{entry3[0]}: 'image'", "int")),
    }  # fmt: skip
    picture = base64.b64encode(bomb_png(60_000, 60_000)).decode()
    objects: dict[str, tuple[Spoil, tuple[str, ...]]] = {
        "missing": (gone(LINES), (LINES,)),
        "empty": (put(LINES, ""), (LINES,)),
        "torn": (cut(LINES, 0.9), (f"{LINES}:3",)),
        "no question": (row(LINES, 2, question=...), (f"{LINES}:2", "question")),
        "a question that is a number": (row(LINES, 2, question=5), (f"{LINES}:2", "question")),
        "an image id that is a fraction": (row(LINES, 2, image_id=2.5), (f"{LINES}:2", "image_id")),
        "an image id twice": (row(LINES, 2, image_id=1), (f"{LINES}:2", f"{LINES}:1")),
        "an unknown image id": (row(LINES, 2, image_id=77), ("77",)),
        "an image that is not base64": (row(LINES, 2, image="???"), (f"{LINES}:2", "base64")),
        "an image that is a number": (row(LINES, 2, image=7), (f"{LINES}:2: image", "int")),
        "an image that is a text": (row(LINES, 2, image=base64.b64encode(b"hello").decode()), (f"{LINES}:2",)),
        "an image that is a bomb": (row(LINES, 2, image=picture), (f"{LINES}:2",)),
        "some lines without image": (row(LINES, 2, image=...), (f"{LINES}:2", "image")),
        "no instances": (gone(INSTANCES), (INSTANCES,)),
        "an image without human captions": (entry(HUMAN, None, annotations=[]), ("caption", "image_id 1")),
    }
    return [
        *(Case(f"POPE: {what}", POPE, says, spoil) for what, (spoil, says) in pope.items()),
        *(Case(f"AMBER: {what}", AMBER, says, spoil) for what, (spoil, says) in amber.items()),
        *(Case(f"MMHal: {what}", MMHAL, says, spoil) for what, (spoil, says) in mmhal.items()),
        *(Case(f"Object HalBench: {what}", OBJECTS, says, spoil) for what, (spoil, says) in objects.items()),
    ]


def _shorten(path: str, count: int) -> None:
    Path(path).write_text(json.dumps(json.loads(Path(path).read_text())[:count]))
