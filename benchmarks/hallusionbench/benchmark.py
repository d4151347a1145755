"""HallusionBench: entangled language hallucination and visual illusion (Guan et al. 2024, arXiv:2310.14566).

Item        one of 1,129 yes/no questions: about an original figure, an edited one (346 figures), or none at all (178)
Judge       a text-only LLM compares each answer with the right one: wrong, right or unclear; then, for the diagnosis,
            says whether the answer is compatible with the one to the pair's original
pair_accuracy      questions right for the original and all its edits / 455 questions (the authors' qAcc), in %
figure_accuracy    figures with all questions right / 346 (fAcc), in %
question_accuracy  right answers / 1,129 (aAcc), in %; a model that sees nothing and says so reaches 64.5
easy_pairs_right, hard_pairs_right  the authors' "easy" and "hard question accuracy": all-or-nothing
            over the original (or absent) figure of each pair (455), and over its edits (430), in %
language, visual, mixed  why answers are wrong, by the authors' diagnosis, in % of those diagnosed
yes_excess         how much more often yes is said than true, in percentage points
unclear            answers without a commitment, in %; right where there is no figure, wrong elsewhere

questions=951 leaves out the questions without a figure, as VLMEvalKit and lmms-eval do; its question and pair
accuracies are other figures. labels=rule needs no judge (the first word, and a list of ways to say "cannot tell");
labels=word is VLMEvalKit's rule; labels=people reads label_file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from benchmarks.hallusionbench.codes import Code, code_by_rule, code_by_word, read_correctness, read_same
from benchmarks.hallusionbench.figures import Answered, Question, cause, official_figures, originals
from benchmarks.hallusionbench.files import Entry, question_key, read_entries, read_labels
from benchmarks.judges.prompts import JudgePrompt, PinnedPrompt, PromptChoice, judge_prompt
from benchmarks.yes_no import read_leading, read_word
from evalkit.benchmark import DataFile, Judged, JudgeRound, check_number, content_digest
from evalkit.errors import UsageError
from evalkit.files.assets import asset
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Response, Sample, Score

Labels = Literal["judge", "rule", "word", "people"]
QUESTIONS, WITH_FIGURE = 1129, 951
SAME = "same"  # name of the judge's second round

CORRECTNESS = PinnedPrompt(
    script="hallusionbench/utils.py",
    function="evaluate_by_chatgpt",
    variable="prompt",
    sha256="8de88cbb4ba741b76fccf42eccf729a237c28ce9cf11a043878eff1edecf1de4",
    own="hallusionbench_correctness",
)
COMPATIBLE = PinnedPrompt(
    script="hallusionbench/utils.py",
    function="check_same_by_chatgpt",
    variable="prompt",
    sha256="be30935dc58fcf1a7c0a000a88c407a28f16adffb95ffaa639c5e46348c532a2",
    own="hallusionbench_same",
)

METRICS = (
    Metric("pair_accuracy", "100 * right_pairs / pairs", True),
    Metric("figure_accuracy", "100 * right_figures / figures", True),
    Metric("question_accuracy", "100 * right / questions", True),
    Metric("easy_pairs_right", "100 * right_easy / easy", True),
    Metric("hard_pairs_right", "100 * right_hard / hard", True),
    Metric("language", "100 * language / diagnosed", None),
    Metric("visual", "100 * visual / diagnosed", None),
    Metric("mixed", "100 * mixed / diagnosed", None),
    Metric("yes_excess", "100 * (said_yes - true_yes) / questions", None, unit="points"),
    Metric("unclear", "100 * unclear / questions", None),
)


class _SameRound(JudgeRound):
    """Is this answer compatible with the one to the pair's figure 0?"""

    name = SAME

    def __init__(self, benchmark: "HallusionBench") -> None:
        self.benchmark = benchmark

    def prompt(
        self, item: Item, response: str, replies: Mapping[str, str], responses: Mapping[str, str]
    ) -> Prompt | None:
        """None where the pair's original has no response."""
        original = responses.get(item.reference["original"])
        if original is None:
            return None
        return Prompt(item.id, self.benchmark.same_template.template.format(response, original))

    def judge_sampling(self) -> Sampling:
        """As in the first round."""
        return self.benchmark.judge_sampling()


class HallusionBench(Judged):
    """The benchmark; see the module for what it measures."""

    name = "hallusionbench"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(max_new_tokens=512)
    example_reply = "correct"
    files = (
        DataFile(
            "images",
            "hallusionbench/images",
            "the archive linked in the README of tianyi-lab/HallusionBench (Google Drive): unpack so that "
            "hallusionbench/images/VD/figure/0_0.png is there",
        ),
    )

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        questions: Literal["1129", "951"] = "1129",
        labels: Labels = "judge",
        label_file: Path | None = None,
        prompt: PromptChoice = "auto",
        prompt_script: Path | None = None,
        partial: bool = False,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            data: HallusionBench.json; default: the official file.
            images: folder with <category>/<subcategory>/<set>_<figure>.png.
            without_images: items without images, enough to score responses made elsewhere.
            questions: all, or those with a figure.
            labels: who says whether an answer is right.
            label_file: people's labels, rows with id and label (0 wrong, 1 right, 2 unclear).
            prompt: the authors' judge prompts, this project's own, or the latter only if the former are not here.
            prompt_script: the authors' utils.py; default: the official file.
            partial: accept another number of questions.
        """
        if (labels == "people") != (label_file is not None):
            raise UsageError("hallusionbench: labels=people and label_file go together")
        self._data, self.images, self.without_images = data, images, without_images
        self.questions, self.labels, self.label_file = questions, labels, label_file
        self.prompt_choice, self.prompt_script, self.partial = prompt, prompt_script, partial

    @classmethod
    def miniature(cls, world: Path, questions: Literal["1129", "951"] = "1129", labels: Labels = "judge") -> Self:
        """The benchmark over a miniature world's files."""
        folder = world / "hallusionbench"
        return cls(folder / "HallusionBench.json", folder, False, questions, labels, prompt="own", partial=True)

    @cached_property
    def data(self) -> Path:
        """The question file."""
        return self._data or asset("hallusionbench/HallusionBench.json")

    @cached_property
    def correctness_template(self) -> JudgePrompt:
        """What the judge is asked first: question, right answer, answer."""
        return judge_prompt(CORRECTNESS, self.prompt_choice, self.prompt_script)

    @cached_property
    def same_template(self) -> JudgePrompt:
        """What it is asked then: answer, answer to the pair's original."""
        return judge_prompt(COMPATIBLE, self.prompt_choice, self.prompt_script)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        entries = read_entries(self.data)
        kept = [entry for entry in entries if self.questions == "1129" or not entry.question.without_figure]
        check_number(len(kept), int(self.questions), self.data, self.partial)
        return tuple(map(self._item, kept))

    def _item(self, entry: Entry) -> Item:
        question = entry.question
        image = None
        if question.visual_input != "0" and not self.without_images and self.images is not None:
            name = f"{question.category}/{question.subcategory}/{question.set_id}_{question.figure_id}.png"
            image = ImageFile(self.images, name)
        return Item(
            id=entry.key,
            question=entry.text,
            image=image,
            reference={
                "truth": question.truth,
                "explanation": entry.explanation,
                "original": question_key(question, "0"),
                "visual_input": question.visual_input,
            },
            groups={"category": question.category, "subcategory": f"{question.category} {question.subcategory}"},
            cluster="_".join((question.category, question.subcategory, question.set_id)),
        )

    @cached_property
    def _questions(self) -> Mapping[str, Question]:
        return {entry.key: entry.question for entry in read_entries(self.data)}

    @cached_property
    def _people(self) -> Mapping[str, Code]:
        assert self.label_file is not None  # the constructor says so
        return read_labels(self.label_file)

    def items(self) -> Sequence[Item]:
        """The questions in file order; an item's id is category_subcategory_set_figure_question.

        Raises:
            DataError: if the file is missing or malformed, or the number of questions is another one.
        """
        return self._items

    def needs_image(self, item: Item) -> bool:
        """Questions with visual_input 0 are put without a figure."""
        return bool(item.reference["visual_input"] != "0")

    def settings(self) -> Mapping[str, str]:
        """The questions, how many, who labels answers and with which prompt."""
        rows = (f"{item.id}\n{item.question}\n{item.reference['explanation']}" for item in self._items)
        data = content_digest(rows)
        settings = {"data": data, "questions": self.questions, "labels": self.labels}
        if self.labels == "judge":
            settings["prompt"] = self.correctness_template.name
        return settings

    def judge_prompt(self, item: Item, response: str) -> Prompt | None:
        """Question, right answer and the model's answer; nothing if a rule or people label it."""
        if self.labels != "judge":
            return None
        text = self.correctness_template.template.format(item.question, item.reference["explanation"], response)
        return Prompt(item.id, text)

    def judge_sampling(self) -> Sampling:
        """Greedy; the authors set nothing."""
        return Sampling(temperature=0.0, max_new_tokens=256)

    def check_reply(self, reply: str) -> str | None:
        """Every reply is read as one of the three, an empty one excepted."""
        return None if reply.strip() else "the judge's text is empty"

    def further_rounds(self) -> Sequence[JudgeRound]:
        """The question behind the diagnosis."""
        return (_SameRound(self),)

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Label one answer."""
        return self.score_rounds(item, response, {} if reply is None else {"": reply})

    def score_rounds(self, item: Item, response: str, replies: Mapping[str, str]) -> Score:
        """Label one answer; what needs several answers is added by `settle`."""
        if self.labels == "judge" and not replies.get("", "").strip():
            failure = "the judge's text is empty" if "" in replies else "no reply of the judge"
            return Score(None, failure=f"{failure} (item {item.id})")
        if self.labels == "people" and item.id not in self._people:
            return Score(None, failure=f"{self.label_file} has no label of {item.id}")
        code = self._code(item, response, replies)
        details: dict[str, Json] = {"code": code, "same": read_same(replies[SAME]) if SAME in replies else None}
        if "" in replies:
            details["judge_text"] = replies[""]
        answered = Answered(self._questions[item.id], code)
        true_yes = item.reference["truth"] == "yes"
        counts = {
            "questions": 1,
            "right": int(answered.right),
            "unclear": int(code == "2"),
            "true_yes": int(true_yes),
            "said_yes": int(answered.right == true_yes),
        }
        return Score(counts, details=details)

    def _code(self, item: Item, response: str, replies: Mapping[str, str]) -> Code:
        if self.labels == "judge":
            return read_correctness(replies[""])
        if self.labels == "people":
            return self._people[item.id]
        rule = code_by_word if self.labels == "word" else code_by_rule
        return rule(response, item.reference["truth"])

    def settle(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Counts of pairs and figures, on the first question of each; the diagnosis, on every wrong answer.

        A pair or figure with a question that has no score is not counted.
        """
        added: dict[int, dict[str, float]] = {}
        for number in {sample.response.sample for sample in samples}:
            rows = self._answered(samples, number)
            _count_groups(rows, {place: self._questions[samples[place].item.id] for place in rows}, added)
            _count_causes(rows, added)
        return [_with(sample, added.get(place)) for place, sample in enumerate(samples)]

    def _answered(self, samples: Sequence[Sample], number: int) -> dict[int, Answered | None]:
        """Place among the samples -> how it was answered (None: not scored), of one response per question."""
        places = [place for place, sample in enumerate(samples) if sample.response.sample == number]
        texts = {samples[place].item.id: samples[place].response.text for place in places}
        rows: dict[int, Answered | None] = dict.fromkeys(places)
        for place in places:
            item, score = samples[place].item, samples[place].score
            if score.counts is not None:
                same = score.details["same"]
                if same is None and self.labels in ("rule", "word"):
                    same = _same_word(texts[item.id], texts.get(item.reference["original"]))
                rows[place] = Answered(self._questions[item.id], score.details["code"], same)
        return rows

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The authors' two tables, for all questions only, unless `partial` was chosen."""
        rows = [row for row in self._answered(samples, 0).values() if row is not None]
        missing = len(self._items) - len(rows)
        if missing and not self.partial:
            reason = f"{missing} of {len(self._items)} questions have no score; set hallusionbench.partial=true"
            return {"withheld": reason}
        return {"labels": self.labels, **official_figures(rows)}

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Models that look at nothing: constant answers, and No with a figure, "cannot tell" without one."""
        rows: dict[str, Mapping[str, float | None]] = {}
        for name, with_figure, without in (
            ("constant Yes", "yes", "yes"),
            ("constant No", "no", "no"),
            ("always unclear", None, None),
            ("No with a figure, unclear without", "no", None),
        ):
            answers = {item.id: with_figure if self.needs_image(item) else without for item in items}
            rows[name] = self._figures_of(items, answers)
        return rows

    def _figures_of(self, items: Sequence[Item], answers: Mapping[str, str | None]) -> dict[str, float | None]:
        """Metrics of answers yes, no, or None for unclear, that all are the same within a pair."""
        samples = []
        for item in items:
            answer = answers[item.id]
            code: Code = "2" if answer is None else "1" if answer == item.reference["truth"] else "0"
            answered, true_yes = Answered(self._questions[item.id], code), item.reference["truth"] == "yes"
            counts = {
                "questions": 1,
                "right": int(answered.right),
                "unclear": int(code == "2"),
                "true_yes": int(true_yes),
                "said_yes": int(answered.right == true_yes),
            }
            same = answer == answers.get(item.reference["original"])
            score = Score(counts, details={"code": code, "same": same})
            samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, ""), score))
        sums = sum_counts(sample.score.counts or {} for sample in self.settle(samples))
        return {metric.name: metric.value(sums) for metric in self.metrics}


def _same_word(response: str | None, original: str | None) -> bool | None:
    """Without a judge: whether two answers say the same of yes and no; None where one of them is missing."""
    if response is None or original is None:
        return None
    first, second = ((read_leading(text) or read_word(text)) for text in (response, original))
    return first == second


def _count_groups(
    rows: Mapping[int, Answered | None], questions: Mapping[int, Question], added: dict[int, dict[str, float]]
) -> None:
    """Add the counts of pairs, figures, and the easy and hard part of pairs to the first question of each."""
    groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for place, question in questions.items():
        groups.setdefault(("pairs", question.pair), []).append(place)
        groups.setdefault(("hard" if question.visual_input == "2" else "easy", question.pair), []).append(place)
        if question.figure is not None:
            groups.setdefault(("figures", question.figure), []).append(place)
    for (name, _), places in groups.items():
        members = [rows[place] for place in places]
        if any(row is None for row in members):
            continue
        counts = added.setdefault(places[0], {})
        counts[name] = 1
        counts[f"right_{name}"] = int(all(row.right for row in members if row is not None))


def _count_causes(rows: Mapping[int, Answered | None], added: dict[int, dict[str, float]]) -> None:
    """Add the diagnosis of every wrong answer, where it can be told: the original's code, and whether they are same."""
    first = originals(row for row in rows.values() if row is not None)
    for place, row in rows.items():
        if row is None or row.right:
            continue
        original = first.get(row.question.pair)
        if row.question.figure_id != "0" and (original is None or row.same is None):
            continue
        diagnosis = cause(row, original)
        if diagnosis is not None:
            counts = added.setdefault(place, {})
            counts |= {"diagnosed": 1, diagnosis: 1}


def _with(sample: Sample, counts: Mapping[str, float] | None) -> Sample:
    if counts is None or sample.score.counts is None:
        return sample
    return replace(sample, score=replace(sample.score, counts={**sample.score.counts, **counts}))
