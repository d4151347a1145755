"""RefoMB: open questions, a judge says whose answer is better, GPT-4V's or the model's (RLAIF-V, arXiv:2405.17220).

Item        one of 99 questions of 8 types about 73 images (the dev split; a test split is not released)
Judge       a text-only LLM reads a long description of the image, the question and both answers; then, in a second
            round, nothing but the first round's text, and says which answer hallucinates less
win_rate            (wins + ties / 2) / judged of the first round, in %; 50 is as good as GPT-4V (the authors' overall)
trustworthiness     the same of the second round, in %; a judge that lists no hallucinations cannot be corrected by it
length              words per response; the reference has 169

GPT-4V always stands first. The metrics use a robust reading of the verdict (the last one in brackets), the `official`
block the authors' (the first). To them an item lost to the judge leaves the mean without a word; here it is a failure
and counted.

Options: judge_runs, several verdicts per item, averaged; control=self, the reference answer on both sides (50 is fair);
control=swap, both orders (order_agreement, swapped_win_rate).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.judges.compared import Compared, Control
from benchmarks.judges.pairwise import VERDICTS, ReadingName, Verdict, official_verdict
from benchmarks.judges.prompts import JudgePrompt, PinnedPrompt, PromptChoice, judge_prompt
from benchmarks.refomb.figures import official_figures
from benchmarks.refomb.files import Entry, read_entries
from benchmarks.refomb.questions import as_asked, hallucination_question, overall_question
from evalkit.benchmark import DataFile, JudgeRound, check_number, content_digest
from evalkit.files.assets import asset
from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score

ITEMS = 99
HALLUCINATION = "hallucination"  # name of the second round

OVERALL_WORDING = PinnedPrompt(
    script="refomb/eval_RefoMB_p0.py",
    variable="SYSTEM_MSG",
    sha256="486e38356155ad90716dc7c0360e5e767ac65836dcaa19c86c214a9a63034623",
    own="refomb_overall",
)
HALLUCINATION_WORDING = PinnedPrompt(
    script="refomb/eval_hallucination.py",
    variable="SYSTEM_MSG",
    sha256="48b93b1e0d6165d5ea08eb29300c761a47f16856e9b42dfbb347b17f5128f14e",
    own="refomb_hallucination",
)

METRICS = (
    Metric("win_rate", "100 * points / responses", True),
    Metric("trustworthiness", "100 * hallucination_points / hallucination_judged", True),
    Metric("length", "words / responses", None, unit="words", role="length"),
    Metric("wins", "100 * wins / responses", True, detail=True),
    Metric("ties", "100 * ties / responses", None, detail=True),
    Metric("losses", "100 * losses / responses", False, detail=True),
    Metric("self_win_rate", "100 * self_points / self_judged", None, detail=True),
    Metric("swapped_win_rate", "100 * swapped_points / order_checked", True, detail=True),
    Metric("order_agreement", "100 * order_kept / order_checked", None, detail=True),
)


class _HallucinationRound(JudgeRound):
    """Of the first review alone: whose answer has fewer hallucinations?"""

    name = HALLUCINATION

    def __init__(self, benchmark: "RefoMB") -> None:
        self.benchmark = benchmark

    def prompt(
        self, item: Item, response: str, replies: Mapping[str, str], responses: Mapping[str, str]
    ) -> Prompt | None:
        """The first review in its frame; nothing if it holds no verdict, for the authors ask again until it does."""
        if self.benchmark.check_reply(replies[""]) is not None:
            return None
        return Prompt(item.id, hallucination_question(self.benchmark.hallucination_wording.template, replies[""]))

    def judge_sampling(self) -> Sampling:
        """Greedy."""
        return Sampling(temperature=0.0, max_new_tokens=2048)

    def check_reply(self, reply: str) -> str | None:
        """As in the first round."""
        return self.benchmark.check_reply(reply)


class RefoMB(Compared):
    """The benchmark; see the module for what it measures."""

    name = "refomb"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(max_new_tokens=1024)
    example_reply = "[[C]]"
    files = (
        DataFile(
            "images",
            "refomb/images",
            "the 73 images behind the lines' image_url, by their file names (multimodal_openmme_test_20240319__20.jpg)",
        ),
    )

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        prompt: PromptChoice = "auto",
        prompt_folder: Path | None = None,
        reading: ReadingName = "robust",
        judge_runs: int = 1,
        control: Control = "none",
        partial: bool = False,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            data: gpt4v_RefoMB_dev_0521.jsonl, GPT-4V's answers; default: the official file.
            images: folder of the images.
            without_images: items without images, enough to score responses made elsewhere.
            prompt: the authors' wording, this project's own, or the latter only if the former is not here.
            prompt_folder: folder of the authors' eval_RefoMB_p0.py and eval_hallucination.py; default: official files.
            reading: how a verdict is read.
            judge_runs: verdicts of the first round per item, averaged; the authors ask for more than three.
            control: a check of the judge itself; each doubles the calls of the first round.
            partial: accept another number of questions than 99.
        """
        self.ask_repeatedly(judge_runs, control)
        self._data, self.images, self.without_images, self.partial = data, images, without_images, partial
        self.prompt_choice, self.prompt_folder, self.reading = prompt, prompt_folder, reading

    @classmethod
    def miniature(cls, world: Path, judge_runs: int = 1, control: Control = "none") -> Self:
        """The benchmark over a miniature world's files."""
        data, images = world / "refomb" / "reference.jsonl", world / "images"
        return cls(data, images, prompt="own", judge_runs=judge_runs, control=control, partial=True)

    @cached_property
    def data(self) -> Path:
        """The reference file."""
        return self._data or asset("refomb/gpt4v_RefoMB_dev_0521.jsonl")

    @cached_property
    def overall_wording(self) -> JudgePrompt:
        """What the first question begins with."""
        return self._wording(OVERALL_WORDING)

    @cached_property
    def hallucination_wording(self) -> JudgePrompt:
        """What the second question begins with."""
        return self._wording(HALLUCINATION_WORDING)

    def _wording(self, pin: PinnedPrompt) -> JudgePrompt:
        script = self.prompt_folder / Path(pin.script).name if self.prompt_folder is not None else None
        return judge_prompt(pin, self.prompt_choice, script)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        entries = read_entries(self.data)
        check_number(len(entries), ITEMS, self.data, self.partial, "lines")
        return tuple(map(self._item, entries))

    def _item(self, entry: Entry) -> Item:
        has_image = not self.without_images and self.images is not None
        return Item(
            id=str(entry.number),
            question=entry.question,
            image=ImageFile(self.images, entry.image_name) if has_image and self.images is not None else None,
            reference={"description": entry.description, "answer": entry.answer, "image_id": entry.image_name},
            groups={"type": entry.kind},
            cluster=entry.image_url,
        )

    def items(self) -> Sequence[Item]:
        """The questions in file order; an item's id is the file's.

        Raises:
            DataError: if the file is missing or malformed, or there are not 99 lines.
        """
        return self._items

    def settings(self) -> Mapping[str, str]:
        """What moves a score: questions, descriptions, reference answers, wording, reading, repetition."""
        rows = (f"{item.question}\n{item.reference['description']}\n{item.reference['answer']}" for item in self._items)
        data = content_digest(rows)
        settings = {"data": data, "prompt": self.overall_wording.name, "reading": self.reading}
        return settings | self.repetition()

    def ask(self, item: Item, first: str, second: str) -> Prompt:
        """The first question with these answers on its sides."""
        wording, description = self.overall_wording.template, item.reference["description"]
        return Prompt(item.id, overall_question(wording, description, item.question, first, second))

    def as_asked(self, response: str) -> str:
        """As the authors' script puts it in."""
        return as_asked(response)

    def judge_sampling(self, seed: int = 0) -> Sampling:
        """The authors' temperature, next to greedy."""
        return Sampling(temperature=1e-5, max_new_tokens=2048, seed=seed)

    def check_reply(self, reply: str) -> str | None:
        """Why a reply holds no verdict, or None."""
        if VERDICTS[self.reading](reply) is not None:
            return None
        return f"no verdict [[A]], [[B]] or [[C]] in the judge's text: ...{reply.strip()[-60:]!r}"

    def further_rounds(self) -> Sequence[JudgeRound]:
        """The second question, further runs of the first, the control."""
        return [_HallucinationRound(self), *super().further_rounds()]

    def score_rounds(self, item: Item, response: str, replies: Mapping[str, str]) -> Score:
        """The verdicts of all rounds; an item whose first round has none is a failure."""
        runs = {name: text for name, text in replies.items() if name == "" or name.startswith("run ")}
        if not runs:
            return Score(counts=None, failure="no reply of the judge")
        details: dict[str, Json] = {f"{name or 'overall'}_judge_text": text for name, text in replies.items()}
        read = [verdict for text in runs.values() if (verdict := self._read(text)) is not None]
        if not read:
            return Score(
                None, failure=f"{self.check_reply(next(iter(runs.values())))} (item {item.id})", details=details
            )
        details["verdicts"] = list(read)
        overall = sum(map(_points, read)) / len(read)
        counts: dict[str, float] = {
            "responses": 1,
            "points": overall,
            "wins": read.count(1) / len(read),
            "ties": read.count(0) / len(read),
            "losses": read.count(-1) / len(read),
            "words": len(response.split()),
        }
        if (second := self._read(replies.get(HALLUCINATION))) is not None:
            counts |= {"hallucination_judged": 1, "hallucination_points": _points(second)}
        return Score(counts | self._control_counts(overall, replies), details=details)

    def _read(self, reply: str | None) -> Verdict | None:
        return None if reply is None else VERDICTS[self.reading](reply)

    def _control_counts(self, overall: float, replies: Mapping[str, str]) -> dict[str, float]:
        """What the control adds, where its reply can be read."""
        counts: dict[str, float] = {}
        if (fair := self._read(replies.get("self"))) is not None:
            counts |= {"self_judged": 1, "self_points": _points(fair)}
        if (verdict := self._read(replies.get("swap"))) is not None:
            turned = 1 - _points(verdict)
            counts |= {"order_checked": 1, "swapped_points": turned, "order_kept": int(turned == overall)}
        return counts

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """What the two scripts print and put into their tables, over the items whose texts they can read."""
        rounds: dict[str, list[tuple[str, Verdict]]] = {"overall": [], "hallucination": []}
        for sample in samples:
            for name, verdicts in rounds.items():
                text = sample.score.details.get(f"{name}_judge_text")
                verdict = official_verdict(text) if isinstance(text, str) else None
                if verdict is not None:
                    verdicts.append((sample.item.groups["type"], verdict))
        complete = len(rounds["overall"]) == len(samples) == ITEMS
        return {**{name: official_figures(verdicts) for name, verdicts in rounds.items()}, "complete": complete}


def _points(verdict: Verdict) -> float:
    """1 for a win of the model, 1/2 for a tie, 0 for a loss."""
    return (verdict + 1) / 2
