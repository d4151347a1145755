"""RLAIF stage by stage against one command, and against every prompt read whole: prompts, images encoded, CPU seconds.

    OMP_NUM_THREADS=1 python tests/speed/rlaif.py

One iteration on a tiny LLaVA with 576 image tokens, policy and labeler opened apart, one thread. The sides: one command
whose engines read every prompt whole, as all of them did once; one command; each stage in a process of its own. Seconds
are those of the processor, without the imports of a process, which stand below the table. An image is encoded as often
as it goes through the vision tower; bound: once for each role that looks at it (policy, labeler, reference), and once a
pair and epoch in training. What lies beyond it does not grow with the data: opening an engine, with its checks of what
it may read in parts and decode by itself, and the tries by which training finds the layout of its pairs. Ratios leave
opening out.
"""

import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SIDES = ("whole", "one command", "stages")
PARTS = ("opening", "sampling", "judging", "training")
ROWS = (
    ("prompts sent", "prompts", ("sampling", "judging"), ".0f"),
    ("images encoded", "images", PARTS, ".0f"),
    ("CPU seconds", "seconds", PARTS, ".2f"),
)
LIMITS = {"stages, CPU": 1.1, "whole, CPU": 2.0}  # stages to one command at most; whole prompts to one command at least


@dataclass(frozen=True, slots=True)
class Case:
    """Sizes of a run; `questions` are those that candidates draw their claims from, and `model` those of save_tiny."""

    images: int
    candidates: int
    new_tokens: int
    questions: int
    model: Mapping[str, int]


CASE = Case(4, 10, 16, 45, {"size": 336, "patch": 14, "hidden": 128, "text": 256, "layers": 6, "tower": 4})
Facts = dict[str, Any]  # "prompts", "images", "seconds": by part; "rows": candidates and judgements


def main() -> dict[str, Facts]:
    """Measure every side in processes of its own, print, return what was measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, CASE)
        measured = {side: added(_processes(side, folder)) for side in SIDES}
        show(measured, least(folder / "one command", CASE), CASE)
    return measured


def show(measured: Mapping[str, Facts], bound: Mapping[str, int], case: Case) -> None:
    """The table."""
    print(f"{case.images} images, {case.candidates} candidates of {case.new_tokens} tokens for each, one iteration")
    print(f"{'':<28}" + "".join(f"{side:>13}" for side in SIDES) + f"{'bound':>8}")
    for name, what, parts, digits in ROWS:
        for part in parts:
            values = "".join(f"{facts[what].get(part, 0):>13{digits}}" for facts in measured.values())
            print(f"{f'{name}, {part}':<28}{values}" + (f"{bound.get(part, 0):>8}" if what == "images" else ""))
    whole, one, stages = (sum(facts["seconds"][part] for part in PARTS[1:]) for facts in measured.values())
    print(f"{'all but opening':<28}{whole:>13.2f}{one:>13.2f}{stages:>13.2f}")
    print(f"{'ratio to one command':<28}{whole / one:>13.2f}{1:>13.2f}{stages / one:>13.2f}")
    print(f"limits: stages at most {LIMITS['stages, CPU']:g}, whole prompts at least {LIMITS['whole, CPU']:g}")
    for side in ("whole", "stages"):
        print(f"{side} and one command: {same_rows(measured[side], measured['one command'])}")
    processes = {side: facts["processes"] for side, facts in measured.items()}
    start = measured["stages"]["imports"] / processes["stages"]
    print(f"imports of a process: {start:.1f} s of CPU; one command is 1 process, the stages are {processes['stages']}")


def least(run: Path, case: Case) -> dict[str, int]:
    """The smallest number of images that each part must encode."""
    pairs = len((run / "iteration_1" / "pairs.jsonl").read_text().splitlines())
    return {"sampling": case.images, "judging": case.images, "training": case.images + pairs}


def same_rows(one: Facts, other: Facts) -> str:
    """How many candidates are the same text, and how many judgements differ by less than 1e-5."""
    texts, theirs = one["rows"]["candidates"], other["rows"]["candidates"]
    same = sum(theirs.get(key) == text for key, text in texts.items())
    judged, others = one["rows"]["judgements"], other["rows"]["judgements"]
    close = sum(key in others and abs(others[key] - value) < 1e-5 for key, value in judged.items())
    return f"{same}/{len(theirs)} candidates identical, {close}/{len(others)} judgements within 1e-5"


# --- processes ----------------------------------------------------------------------------------------------------


def _processes(side: str, folder: Path) -> list[Facts]:
    from aligners.cli.stage_commands import STAGES

    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    measured = []
    for stage in STAGES if side == "stages" else ("all",):
        command = [sys.executable, "-P", __file__, side, stage, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{side}, {stage}: {done.stderr[-2000:]}")
        measured.append(json.loads(done.stdout.splitlines()[-1]))
    return measured


def added(parts: list[Facts]) -> Facts:
    """What several processes did, in one; the rows as they are in the end."""
    sums: Facts = {what: dict(sum((Counter(one[what]) for one in parts), Counter())) for what in _COUNTED}
    return sums | {
        "imports": sum(one["imports"] for one in parts),
        "processes": len(parts),
        "rows": parts[-1]["rows"],
    }


_COUNTED = ("prompts", "images", "seconds")


def measure(side: str, stage: str, folder: Path, case: Case) -> Facts:
    """One side, whole or one of its stages, in this process; `folder` is of `write`."""
    from aligners.feedback.roles import OnDemand
    from aligners.rlaif import rlaif_run

    counts: Facts = {what: Counter() for what in _COUNTED}
    opened = _engines(counts, share=side != "whole")
    settings = {
        "iterations": 1, "prompts_per_round": case.images, "candidates": case.candidates, "temperature": 1.0,
        "max_new_tokens": case.new_tokens, "learning_rate": 1e-4, "epochs": 1, "batch_size": 4,
        "balance_lengths": False, "confirmed_weight": 1.0, "lora": False, "max_length": 1024, "save_steps": 10**6,
    }  # fmt: skip
    out = folder / side
    run = rlaif_run(
        folder / "model", folder / "prompts.jsonl", out, "rlaifv", settings,
        labeler=OnDemand(lambda: opened(folder / "model"), "labeler"), splitter=_splitter(case.questions),
        open_engine=opened,
    )  # fmt: skip
    begin = time.process_time()
    with _watched_tower(counts):
        if stage == "all":
            run.go()
        else:
            run.stage(stage)
    rest = time.process_time() - begin - sum(counts["seconds"].values())
    counts["seconds"]["training" if stage in ("all", "training") else "opening"] += rest
    return {**{what: dict(counts[what]) for what in _COUNTED}, "rows": _rows(out / "iteration_1")}


def write(folder: Path, case: Case) -> None:
    """Checkpoint, images and prompts."""
    import numpy as np
    from PIL import Image
    from tiny_models import save_tiny

    save_tiny("llava", folder / "model", **case.model)
    drawn = np.random.default_rng(0)
    rows = []
    for i in range(case.images):
        Image.fromarray(drawn.integers(0, 256, (120, 160, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        rows.append({"id": f"p{i}", "image": f"{i}.png", "prompt": "Describe the image."})
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _splitter(questions: int) -> Any:
    """Some of so many questions for every text: random weights write no English to divide."""
    from aligners.feedback.claims import Claim
    from aligners.feedback.splitting import RuleSplitter

    def divide(text: str) -> list[Claim]:
        own = random.Random(text)
        chosen = own.sample(range(questions), min(questions, 6 + own.randrange(12)))
        return [Claim(f"There is thing {k}.", f"Is thing {k} there?") for k in chosen]

    return RuleSplitter("drawn", divide)


def _engines(counts: Facts, share: bool) -> Any:
    """Opens engines that count what they are asked, and whose part is named while they work."""
    from evalkit.engines.transformers import TransformersEngine

    class Counted(TransformersEngine):
        """Adds up prompts and the processor's time."""

        share_prefixes = share

        def generate(self, prompts: Any, sampling: Any) -> Iterator[Any]:
            counts["prompts"]["sampling"] += len(prompts) * sampling.n
            with _part(counts, "sampling"):
                yield from super().generate(prompts, sampling)

        def choices(self, prompts: Any, groups: Any) -> Any:
            counts["prompts"]["judging"] += len(prompts)
            with _part(counts, "judging"):
                return super().choices(prompts, groups)

        def describe(self) -> Any:
            with _part(counts, "opening"):
                return super().describe()

        @property
        def _step(self) -> Any:
            with _part(counts, "opening"):  # the step of decoding is proved once, at the first prompts
                return super()._step

    def opened(checkpoint: Path | str) -> TransformersEngine:
        with _part(counts, "opening"):
            return Counted(checkpoint, batch_size=16)

    return opened


@contextmanager
def _part(counts: Facts, name: str) -> Iterator[None]:
    outer, counts["part"] = counts.get("part"), name
    begin = time.process_time()
    try:
        yield
    finally:
        counts["part"] = outer
        taken = time.process_time() - begin
        counts["seconds"][name] += taken
        if outer is not None:
            counts["seconds"][outer] -= taken


@contextmanager
def _watched_tower(counts: Facts) -> Iterator[None]:
    """Count the images that go through the vision tower, outside the engines for training."""
    from transformers import CLIPVisionModel

    forward = CLIPVisionModel.forward

    @functools.wraps(forward)
    def counted(tower: Any, pixel_values: Any = None, *arguments: Any, **keywords: Any) -> Any:
        counts["images"][counts.get("part") or "training"] += len(pixel_values)
        return forward(tower, pixel_values, *arguments, **keywords)

    CLIPVisionModel.forward = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        CLIPVisionModel.forward = forward  # type: ignore[method-assign]


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Texts of the candidates and p_yes of the judgements, by id."""
    from evalkit.runs.records import read_journal

    texts = {row["id"]: row["text"] for row in read_journal(folder / "candidates.jsonl")}
    judged = folder / "judgements.jsonl"
    answers = {row["id"]: row["p_yes"] for row in read_journal(judged)} if judged.exists() else {}
    return {"candidates": texts, "judgements": answers}


def _inside(side: str, stage: str, folder: Path) -> None:
    import torch
    import transformers  # noqa: F401

    import aligners.rlaif  # noqa: F401
    import evalkit.engines.transformers  # noqa: F401

    torch.set_num_threads(1)
    imports = time.process_time()
    print(json.dumps(measure(side, stage, folder, CASE) | {"imports": imports}))


if __name__ == "__main__":
    if sys.argv[1:]:
        _inside(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main()
