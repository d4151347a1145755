"""Tiny random checkpoints (below 0.2 M parameters) of the model families, built in a moment, saved like real ones.

    save_tiny("llava", folder)      -> a folder that AutoProcessor and AutoModelForImageTextToText load

FAMILIES need nothing but Pillow; TORCHVISION_FAMILIES need a torchvision that can be imported.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = """
{%- for message in messages %}{{ message['role'].upper() + ': ' }}
{%- for block in message['content'] %}{% if block['type'] == 'image' %}IMAGE_MARKER{{ '\\n' }}{% endif %}{% endfor %}
{%- for block in message['content'] %}{% if block['type'] == 'text' %}{{ block['text'] }}{% endif %}{% endfor %}
{%- if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ ' ' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}ASSISTANT:{% endif %}"""

SENTENCES = (
    "The image shows a kitchen with a dining table, two chairs and a cup.",
    "USER: Describe the image. ASSISTANT: There is a dog in the park.",
    "Is there a car in the image? Yes, there is a car. No, there is no traffic light.",
    "yes no Yes No yes. no.",
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


def torchvision_problem() -> str | None:
    """Why torchvision cannot be used here, or None."""
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except (ImportError, RuntimeError, AttributeError) as error:
        return f"torchvision is not usable: {error}"
    return None


def tiny_tokenizer(image_marker: str = "<image>", **special: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few hundred tokens; `special` are named tokens such as boi_token."""
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    named = list(dict.fromkeys([image_marker, *special.values()]))
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>", *named],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    base.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=base,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": image_marker, **special},
        model_input_names=["input_ids", "attention_mask"],
    )


def template(marker: str) -> str:
    """The chat template of all families, with their image marker."""
    return CHAT_TEMPLATE.replace("IMAGE_MARKER", "{{ '" + marker + "' }}")


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }


def _clip(size: int = 28, patch: int = 14, hidden: int = 32, layers: int = 2) -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=size,
        patch_size=patch,
        projection_dim=hidden,
    )


def llava(
    size: int = 28, patch: int = 14, hidden: int = 32, text: int = 0, layers: int = 2, tower: int = 2
) -> tuple[Any, Any]:
    """LLaVA-1.5: CLIP + Llama; `text` is the language model's width (0: the tower's), `tower` the layers of CLIP."""
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = tiny_tokenizer()
    width = text or hidden
    sizes = TEXT | {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
    config = LlavaConfig(
        vision_config=_clip(size, patch, hidden, tower),
        text_config=LlamaConfig(**sizes, **_ids(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=(size // patch) ** 2,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size}),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return LlavaForConditionalGeneration(config), processor


def llava_next() -> tuple[Any, Any]:
    """LLaVA-NeXT: CLIP on tiles + Mistral."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
        MistralConfig,
    )
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tokenizer = tiny_tokenizer()
    grid = [[28, 56], [56, 28], [56, 56]]
    config = LlavaNextConfig(
        vision_config=_clip(),
        text_config=MistralConfig(**TEXT, **_ids(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=grid
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return LlavaNextForConditionalGeneration(config), processor


IDEFICS_TOKENS = {
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
    **{f"row_{r}_col_{c}": f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)},
}


def _idefics(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        "text_config": {"model_type": "llama", **TEXT, **_ids(tokenizer)},
        "scale_factor": 2,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }


def idefics3() -> tuple[Any, Any]:
    """Idefics3: SigLIP-like tower with pixel shuffle + Llama."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = tiny_tokenizer(**IDEFICS_TOKENS)
    config = Idefics3Config(**_idefics(tokenizer))
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=template("<image>"),
    )
    return Idefics3ForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    """Gemma 3: SigLIP + a text model with sliding-window layers."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    tokenizer = tiny_tokenizer("<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>")
    config = Gemma3Config(
        text_config={
            **TEXT,
            **_ids(tokenizer),
            "head_dim": 8,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
            "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=4),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template="{{ bos_token }}" + template("<start_of_image>"),
    )
    return Gemma3ForConditionalGeneration(config), processor


QWEN_TOKENS = {
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "video_token": "<|video_pad|>",
}


def _qwen(image_patch: int, tokenizer: PreTrainedTokenizerFast, processor: Any) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    side = 2 * image_patch
    sizes = {"patch_size": image_patch, "merge_size": 2, "temporal_patch_size": 2}
    return processor(
        image_processor=Qwen2VLImageProcessor(min_pixels=4 * side**2, max_pixels=16 * side**2, **sizes),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "image_token_id": tokenizer.image_token_id,
        "video_token_id": tokenizer.video_token_id,
        "vision_start_token_id": tokenizer.vision_start_token_id,
        "vision_end_token_id": tokenizer.vision_end_token_id,
    }


def qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL: window-attention tower, three-dimensional rotary positions."""
    from transformers import Qwen2_5_VLProcessor

    tokenizer = tiny_tokenizer("<|image_pad|>", **QWEN_TOKENS)
    processor = _qwen(14, tokenizer, Qwen2_5_VLProcessor)
    return qwen2_5_vl_model(tokenizer), processor


def qwen2_5_vl_model(tokenizer: PreTrainedTokenizerFast, *, tied: bool = False) -> Any:
    """The model alone, which needs no torchvision; Qwen2.5-VL-3B ties its head to its embeddings, 7B does not."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, **_ids(tokenizer), "rope_parameters": rope, "tie_word_embeddings": tied},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "fullatt_block_indexes": [1],
            "window_size": 56,
            "out_hidden_size": TEXT["hidden_size"],
        },
        **_qwen_ids(tokenizer),
        tie_word_embeddings=tied,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL: features of several tower layers go into the text model."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    tokenizer = tiny_tokenizer("<|image_pad|>", **QWEN_TOKENS)
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 1e4}
    config = Qwen3VLConfig(
        text_config={**TEXT, **_ids(tokenizer), "head_dim": 8, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "out_hidden_size": TEXT["hidden_size"],
            "deepstack_visual_indexes": [0, 1],
            "num_position_embeddings": 64,
        },
        **_qwen_ids(tokenizer),
    )
    processor = _qwen(16, tokenizer, Qwen3VLProcessor)
    return Qwen3VLForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    """InternVL: ViT with pixel shuffle + Qwen2."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    tokenizer = tiny_tokenizer(
        "<IMG_CONTEXT>",
        context_image_token="<IMG_CONTEXT>",
        start_image_token="<img>",
        end_image_token="</img>",
        video_token="<video>",
    )
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, **_ids(tokenizer)},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": [32, 32],
            "patch_size": [8, 8],
        },
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    size = {"height": 32, "width": 32}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, max_patches=4),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=template("<IMG_CONTEXT>"),
    )
    return InternVLForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    """SmolVLM: Idefics3 with a smaller tower."""
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    tokenizer = tiny_tokenizer(**IDEFICS_TOKENS, video_token="<video>")
    config = SmolVLMConfig(**_idefics(tokenizer))
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(**sizes),
        image_seq_len=4,
        chat_template=template("<image>"),
    )
    return SmolVLMForConditionalGeneration(config), processor


FAMILIES: dict[str, Callable[..., tuple[Any, Any]]] = {
    "llava": llava,
    "llava_next": llava_next,
    "idefics3": idefics3,
    "gemma3": gemma3,
}


TORCHVISION_FAMILIES: dict[str, Callable[..., tuple[Any, Any]]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "smolvlm": smolvlm,
}


def build_tiny(family: str, seed: int = 0, **sizes: int) -> tuple[Any, Any]:
    """(model, processor) with random weights; logits are spread enough that greedy decoding has no ties."""
    torch.manual_seed(seed)
    model, processor = (FAMILIES | TORCHVISION_FAMILIES)[family](**sizes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                fan_in = parameter[0].numel()
                torch.nn.init.normal_(parameter, std=1.0 if "embed_tokens" in name else fan_in**-0.5)
        model.get_output_embeddings().weight.mul_(4.0)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return model.eval(), processor


def save_tiny(family: str, folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Build and save a checkpoint."""
    model, processor = build_tiny(family, seed, **sizes)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
