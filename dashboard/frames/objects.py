"""Tables of the objects page: hallucinated objects and what they co-occur with."""

from collections import Counter
from collections.abc import Sequence
from itertools import product

import pandas as pd

from dashboard.frames.records import hallucinated_objects, noted_objects, present_objects
from evalkit.analysis.scenes import by_scene
from evalkit.reports.markup import clean
from evalkit.runs.run import Run

# --- objects ------------------------------------------------------------------------------------------------------


def hallucinated_table(run: Run) -> pd.DataFrame:
    """Hallucinated objects, the most frequent first.

    Columns: object, responses (that hallucinate it), mentions, absent (items whose image lacks it), share (percent of
    these items whose response has it), beside (the object truly present that most often stands beside it).
    """
    responses: Counter[str] = Counter()
    mentions: Counter[str] = Counter()
    beside: dict[str, Counter[str]] = {}
    scored = run.scored
    present = [present_objects(row) for row in scored]
    for row, objects in zip(scored, present, strict=True):
        mentions.update(noted_objects(row, "hallucinated"))
        for name in hallucinated_objects(row):
            responses[name] += 1
            beside.setdefault(name, Counter()).update(set(objects))
    truly: Counter[str] = Counter(name for objects in present for name in set(objects))
    listed = sum(bool(objects) for objects in present)
    rows = []
    for name, count in responses.most_common():
        absent = max(count, (listed or len(scored)) - truly[name])
        near = beside[name].most_common(1)
        rows.append(
            {
                "object": name,
                "responses": count,
                "mentions": mentions[name],
                "absent": absent,
                "share": 100 * count / absent,
                "beside": f"{near[0][0]} ({near[0][1]})" if near else "",
            }
        )
    return pd.DataFrame(rows, columns=["object", "responses", "mentions", "absent", "share", "beside"])


def co_occurrence(run: Run, hallucinated: Sequence[str], most: int = 15) -> pd.DataFrame:
    """How often each hallucinated object comes with each object truly present.

    Columns: object, present, responses (with both), images (with `present` but without `object`), share (percent of
    these whose response hallucinates the object).
    """
    truly: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    wanted = set(hallucinated)
    for row in run.scored:
        objects = set(present_objects(row))
        truly.update(objects)
        together.update(product(objects & wanted, objects))
        both.update(product(hallucinated_objects(row) & wanted, objects))
    names = [name for name, _ in Counter({n: sum(both[h, n] for h in wanted) for n in truly}).most_common(most)]
    rows = []
    for name, present in product(hallucinated, names):
        images = truly[present] - together[name, present]
        if images > 0:
            count = both[name, present]
            share = 100 * min(1.0, count / images)
            rows.append({"object": name, "present": present, "responses": count, "images": images, "share": share})
    return pd.DataFrame(rows, columns=["object", "present", "responses", "images", "share"])


def scenes_table(run: Run) -> pd.DataFrame:
    """Over-generalisation: one row per scene; empty for a run that knows none."""
    return pd.DataFrame(
        [
            {
                "scene": clean(row.scene),
                "images": row.images,
                "mentions there": row.mentions[0],
                "mentions anywhere": row.mentions[1],
                "anywhere": None if row.anywhere is None else round(row.anywhere, 1),
                "there": None if row.here is None else round(row.here, 1),
                "difference": row.delta.text(),
                "objects": clean(", ".join(row.objects)),
            }
            for row in by_scene(run)
        ]
    )
