"""Prompts as a checkpoint sees them: one chat template, one image transform, one tokenisation, used everywhere.

Generation, log-probabilities and training all encode through `PromptEncoder`, so that the policy is trained on exactly
the tokens it is later measured on.

Tokenisation of a continuation is declared, not guessed from context: its ids are `tokenizer(lead + text)` appended to
the ids of the prompt, where `lead` is the white space that the checkpoint's own template writes between the generation
prompt and an answer ("ASSISTANT:" -> "ASSISTANT: A dog." gives " "), dropped where the tokenizer adds it by itself.
"""

import copy
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import jinja2
from PIL import Image

from evalkit.engines.model.inputs.prompt_formats import format_of
from evalkit.engines.model.token_rows import Encoded, append, joined
from evalkit.errors import DataError, EngineError
from evalkit.schema import Prompt, Turn

# `<name>_token` of processor or tokenizer, over the families
PLACEHOLDER_NAMES = (
    *("image", "video", "audio", "boi", "eoi", "vision_start", "vision_end"),
    *("fake_image", "global_image", "context_image", "start_image", "end_image"),
)
BRIEF = 8  # tokens of an answer that is likely to come again
PROBE_USER, PROBE_ANSWER = "Qz", "Zq"  # any two short texts that no template contains


class Recorder:
    """Takes down the texts and the settings with which a processor calls its tokenizer."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.add_special_tokens = True
        self._tokenizer: Any = None

    def listening_in(self, processor: Any) -> Any:
        """The same processor with this object in its tokenizer's place."""
        self._tokenizer = processor.tokenizer
        heard = copy.copy(processor)
        heard.tokenizer = self
        return heard

    def __call__(self, text: Sequence[str], **keywords: Any) -> Any:
        """What the tokenizer makes of it."""
        self.texts, self.add_special_tokens = list(text), keywords.get("add_special_tokens", True)
        return self._tokenizer(text, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class PromptEncoder:
    """Turns prompts into model inputs with a checkpoint's processor and chat template."""

    def __init__(self, processor: Any, chat_template: str | None = None) -> None:
        """`chat_template` (Jinja) replaces the checkpoint's own.

        Raises:
            EngineError: if there is no template at all, or the processor is not a multimodal one.
        """
        self.processor = processor
        self.tokenizer: Any = getattr(processor, "tokenizer", None)
        if self.tokenizer is None or getattr(processor, "image_processor", None) is None:
            raise EngineError(f"expected a processor with a tokenizer and an image processor, got {_name(processor)}")
        self.format = format_of(processor)
        template = chat_template or processor.chat_template or self.tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        template = template or self.format.template
        if not template:
            raise EngineError(
                f"{_name(processor)} of this checkpoint has no chat template, and none is built in for it; give one "
                "with the option `chat_template`: Jinja text with the family's own image marker and words, as its "
                "model card or its authors' evaluation has them"
            )
        self.chat_template: str = template
        self.placeholder_ids = _placeholder_ids(processor, self.tokenizer)
        self.lead = self._find_lead()
        self._spare: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._rendered = lru_cache(4096)(self._render)  # many items ask the same question
        self.ids_of = lru_cache(256)(self._ids_of)
        self._brief = lru_cache(1024)(self._decoded)
        self._placeholders: tuple[str, ...] = tuple(self.tokenizer.convert_ids_to_tokens(list(self.placeholder_ids)))

    def __reduce__(self) -> tuple[type[Self], tuple[Any, str]]:
        return type(self), (self.processor, self.chat_template)  # the rest is made anew, in another process too

    # --- text ---------------------------------------------------------------------------------------------------------

    def render(self, prompt: Prompt) -> str:
        """The chat template applied to a prompt; image markers are not expanded yet.

        Raises:
            DataError: if the prompt's text holds an image marker, which the processor would take for an image.
            EngineError: if the template drops the system text, the text or an image, or cannot render them.
        """
        problem = self.placeholder_in(*prompt.texts)
        if problem is not None:
            raise DataError(
                f"prompt {prompt.id!r}: its text holds {problem!r}, a placeholder token of the model; "
                "leave it out: the chat template places the image"
            )
        try:
            return self._rendered(prompt.system, prompt.turns, prompt.text, len(prompt.images))
        except EngineError as error:
            raise EngineError(f"prompt {prompt.id!r}: {error}") from error

    def continuation_ids(self, text: str) -> list[int]:
        """Ids of an answer, whatever the prompt before it (no end token); see the module's text."""
        if not text:
            return []
        # an end token or an image marker that a text spells out is text, not the token
        ids = self.tokenizer(self.lead + text, add_special_tokens=False, split_special_tokens=True).input_ids
        return list(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer: special tokens and surrounding white space removed."""
        return self._brief(tuple(ids)) if len(ids) <= BRIEF else self._decoded(ids)

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    # --- model inputs -------------------------------------------------------------------------------------------------

    def encode(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image.Image]] | None = None,
        continuations: Sequence[Sequence[int]] | None = None,
        padding_side: str = "left",
        recorder: "Recorder | None" = None,
    ) -> Encoded:
        """Model inputs of a batch whose prompts all have the same number of images.

        Args:
            prompts: what is asked.
            images: the decoded images of each prompt; None opens them.
            continuations: ids to append to each prompt; None appends nothing.
            padding_side: "left" for generation, "right" for log-probabilities and training.
            recorder: takes down what the processor asks of its tokenizer.
        Raises:
            DataError: if an image cannot be read, or the batch mixes numbers of images.
            EngineError: if the processor refuses the batch.
        """
        if images is None:
            images = [[file.open() for file in prompt.images] for prompt in prompts]
        if len({len(row) for row in images}) > 1:
            raise DataError("prompts of one batch must have the same number of images")
        texts = [self.render(prompt) for prompt in prompts]
        bos = self.tokenizer.bos_token
        keywords: dict[str, Any] = {"images": [list(row) for row in images]} if images and images[0] else {}
        if bos is not None and texts[0].startswith(bos):
            keywords["add_special_tokens"] = False  # the template has written it
        try:
            with self.own_processor() as own:
                processor = recorder.listening_in(own) if recorder is not None else own
                features = self._features(processor, texts, keywords)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError) as error:
            ids = ", ".join(prompt.id for prompt in prompts[:3])
            raise EngineError(
                f"{_name(self.processor)} cannot encode the prompts {ids} ...: {error} "
                "(does the processor belong to this checkpoint?)"
            ) from error
        rows = continuations if continuations is not None else [()] * len(prompts)
        return self.append(features, rows, padding_side)

    def append(self, features: Mapping[str, Any], rows: Sequence[Sequence[int]], padding_side: str) -> Encoded:
        """Left-padded prompts with these ids after them, padded again; features of a family follow (`token_rows`)."""
        return append(features, rows, padding_side, self.pad_id, self.format.text_type)

    def _features(self, processor: Any, texts: list[str], keywords: dict[str, Any]) -> dict[str, Any]:
        """What the processor makes of the texts, left-padded."""
        settings = {"return_tensors": "pt", **{k: v for k, v in keywords.items() if k != "images"}}
        images = keywords.get("images")
        if not self.format.singly:
            shown = {"images": images} if images else {}
            features = dict(processor(text=texts, padding=True, padding_side="left", **settings, **shown))
        else:
            rows = [
                dict(processor(text=text, **settings, **({"images": images[b]} if images else {})))
                for b, text in enumerate(texts)
            ]
            features = joined(rows, self.pad_id)
        features.pop("labels", None)  # PaliGemma's: nobody trains on a prompt
        return features

    @property
    def pad_id(self) -> int:
        """Padding token; the end token where the tokenizer has none (it is masked either way)."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    def _render(self, system: str | None, turns: tuple[Turn, ...], text: str, images: int) -> str:
        asks = bool(text) or not turns or turns[-1].role == "user"
        try:
            rendered = self._apply(_messages(system, turns, text, images), asks)
            bare = self._apply(_messages(system, turns, text, 0), asks) if images else None
        except (jinja2.TemplateError, TypeError) as error:
            raise EngineError(f"the chat template cannot render it: {error}") from error
        for part in (system, *(turn.text for turn in turns), text):
            if part and part.strip() not in rendered:
                raise EngineError(f"the chat template drops or changes the text {part[:60]!r}")
        if rendered == bare and not self.format.places_image:
            raise EngineError("the chat template drops the image")
        return rendered

    def placeholder_in(self, *texts: str) -> str | None:
        """A placeholder token that stands in one of the texts."""
        return next((token for token in self._placeholders for text in texts if token in text), None)

    def _ids_of(self, text: str, special: bool) -> tuple[int, ...]:
        """Token ids of a text in which image markers are expanded; `special`: with the tokenizer's special tokens."""
        with self.own_processor() as processor:
            return tuple(processor.tokenizer(text, add_special_tokens=special).input_ids)

    def _apply(self, messages: list[dict[str, Any]], answer_follows: bool = True) -> str:
        text: str = self.processor.apply_chat_template(
            messages, chat_template=self.chat_template, add_generation_prompt=answer_follows, tokenize=False
        )
        return text

    def _find_lead(self) -> str:
        user = {"role": "user", "content": [{"type": "text", "text": PROBE_USER}]}
        answer = {"role": "assistant", "content": [{"type": "text", "text": PROBE_ANSWER}]}
        try:
            prompt, whole = self._apply([user]), self._apply([user, answer], answer_follows=False)
        except (jinja2.TemplateError, TypeError):
            return ""  # the template knows no assistant turns
        rest = whole.removeprefix(prompt)
        lead = rest[: rest.index(PROBE_ANSWER)] if rest != whole and PROBE_ANSWER in rest else ""
        if not lead.isspace():
            return ""
        first = self.tokenizer.convert_ids_to_tokens(self.tokenizer("a", add_special_tokens=False).input_ids)[0]
        return lead.removeprefix(" ") if first.startswith("▁") else lead

    @contextmanager
    def own_processor(self) -> Iterator[Any]:
        """A processor whose tokenizer no other thread uses: fast tokenizers refuse to be shared while they work."""
        if threading.current_thread() is threading.main_thread():
            yield self.processor
            return
        try:
            processor = self._spare.get_nowait()
        except queue.Empty:
            processor = copy.copy(self.processor)
            processor.tokenizer = copy.deepcopy(self.tokenizer)
        try:
            yield processor
        finally:
            self._spare.put(processor)


def _messages(system: str | None, turns: Sequence[Turn], text: str, images: int) -> list[dict[str, Any]]:
    """Chat messages; images begin the first turn, and an empty text adds none behind system text or turns."""
    said = [*turns, Turn("user", text)] if text or not turns else list(turns)
    messages: list[dict[str, Any]] = []
    if system is not None:
        messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
    for number, turn in enumerate(said):
        content: list[dict[str, str]] = [{"type": "image"} for _ in range(images if number == 0 else 0)]
        if turn.text:
            content.append({"type": "text", "text": turn.text})
        if content or system is None:
            messages.append({"role": turn.role, "content": content})
    return messages


def _placeholder_ids(processor: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids of the tokens that stand for images, videos and sounds; a model must never write them."""
    ids: set[int] = set()
    for owner in (processor, tokenizer):
        for name in PLACEHOLDER_NAMES:
            token = getattr(owner, f"{name}_token", None)
            if token is not None:
                ids.add(tokenizer.convert_tokens_to_ids(str(token)))
    ids.update(i for i in getattr(processor, "image_token_ids", []) if isinstance(i, int))
    ordinary = {tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, None}
    return tuple(sorted(ids - ordinary))


def _name(thing: object) -> str:
    return type(thing).__name__
