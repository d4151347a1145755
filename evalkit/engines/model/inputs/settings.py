"""Image padding and system text as settings: the same for every LLaVA, whatever format its folder has.

    image_padding  crop: the shorter side fits, the rest is cut off (llava-hf); pad: to a square, in the mean colour
                   (the papers on LLaVA-1.5)
    system_text    see `system_texts`

They move scores, so they stand in the signature of a run, and two runs that differ in them are not compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.engines.model.inputs.system_texts import hash_of, system_text, with_system_text, written_by
from evalkit.errors import EngineError, UsageError
from evalkit.schema import Json

PADDINGS = ("crop", "pad")
_PADDED_FAMILIES = ("llava",)
_SIGNED_FAMILIES = ("llava", "llava_next")


@dataclass(frozen=True, slots=True)
class InputSettings:
    """What is asked for; None is the checkpoint's own."""

    image_padding: str | None = None
    system_text: str | None = None

    def __post_init__(self) -> None:
        if self.image_padding not in (None, *PADDINGS):
            raise UsageError(f"image_padding {self.image_padding!r}: expected {' or '.join(PADDINGS)}")

    def over(self, chat_template: str | None) -> str | None:
        """A chat template given in place of the checkpoint's own, with the system text in it."""
        if chat_template is None or self.system_text is None:
            return chat_template
        return with_system_text(chat_template, system_text(self.system_text).text)


def applied(
    processor: Any, config: Any, settings: InputSettings | None, image_backend: str
) -> tuple[Any, dict[str, Json]]:
    """(processor with the settings in it, what a manifest records of them besides `input_facts`).

    Raises:
        EngineError: if the family has no such setting.
    """
    facts: dict[str, Json] = {}
    if settings is None:
        return processor, facts
    if settings.image_padding is not None:
        if config.model_type not in _PADDED_FAMILIES:
            raise EngineError(f"image_padding is a setting of LLaVA-1.5; a {config.model_type} has its own way")
        processor.image_processor = padded(processor.image_processor, settings.image_padding == "pad", image_backend)
    if settings.system_text is not None:
        template = template_of(processor)
        if template is None:
            raise EngineError("system_text needs a chat template, and this checkpoint has none")
        chosen = system_text(settings.system_text)
        processor.chat_template = with_system_text(template, chosen.text)
        facts["system_text_name"] = chosen.name
    return processor, facts


def template_of(processor: Any) -> str | None:
    """The chat template of a processor or its tokenizer."""
    template = processor.chat_template or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    return template or None


def padded(image_processor: Any, pad: bool, image_backend: str) -> Any:
    """A LLaVA-1.5 image processor that pads to a square first, or one that does not; everything else as it was."""
    if hasattr(image_processor, "pad_to_square"):
        image_processor.do_pad = pad
        return image_processor
    if not pad:
        return image_processor
    fields = {name: value for name, value in image_processor.to_dict().items() if not name.startswith("image_proc")}
    return padding_processor(image_backend)(**(fields | {"do_pad": True}))


def padding_processor(image_backend: str) -> Any:
    """The class of LLaVA's image processor, which can pad to a square."""
    if image_backend == "torchvision":
        from transformers import LlavaImageProcessor

        return LlavaImageProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    return LlavaImageProcessorPil


def input_facts(processor: Any, chat_template: str, family: str) -> dict[str, Json]:
    """What a manifest records of padding and system text, for the families that have these settings."""
    if family not in _SIGNED_FAMILIES:
        return {}

    def apply(messages: list[dict[str, Any]]) -> str:
        text: str = processor.apply_chat_template(
            messages, chat_template=chat_template, add_generation_prompt=True, tokenize=False
        )
        return text

    own = written_by(apply)
    facts: dict[str, Json] = {} if own is None else {"system_text": hash_of(own)}
    if family in _PADDED_FAMILIES:
        facts["image_padding"] = "pad" if getattr(processor.image_processor, "do_pad", False) else "crop"
    return facts
