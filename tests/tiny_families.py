"""Tiny random checkpoints of further families in hallucination tables, with and without a chat template.

save_tiny("paligemma", folder), as in tiny_models
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_models import TEXT, template, tiny_tokenizer
from transformers import PreTrainedTokenizerFast


def _ids(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }


VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def paligemma() -> tuple[Any, Any]:
    """PaliGemma: SigLIP + Gemma, whose prefix sees itself whole; no chat template."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = tiny_tokenizer("<image>")
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, **_ids(tokenizer), "head_dim": 8},
        vision_config={"model_type": "siglip_vision_model", **VISION, "image_size": 28, "patch_size": 14,
                       "vision_use_head": False, "projection_dim": 32},
        projection_dim=32, hidden_size=32, image_token_index=tokenizer.image_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    images = SiglipImageProcessorPil(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    return PaliGemmaForConditionalGeneration(config), PaliGemmaProcessor(images, tokenizer)


def chameleon() -> tuple[Any, Any]:
    """Chameleon: images as tokens of a VQ model; no chat template."""
    from transformers import ChameleonConfig, ChameleonForConditionalGeneration, ChameleonProcessor
    from transformers.models.chameleon.image_processing_pil_chameleon import ChameleonImageProcessorPil

    codes = {f"code_{i}": f"IMGIMG{chr(ord('A') + i)}Z" for i in range(8)}
    tokenizer = tiny_tokenizer("<image>", boi_token="<racm3:break>", eoi_token="<eoss>", **codes)
    tokenizer.sep_token = "</s>"
    words = {**tokenizer.get_vocab()}
    config = ChameleonConfig(
        **TEXT, **_ids(tokenizer), vocabulary_map=words,
        vq_config={"embed_dim": 8, "num_embeddings": 8, "latent_channels": 8, "resolution": 16, "base_channels": 32,
                   "channel_multiplier": [1, 1], "num_res_blocks": 1, "in_channels": 3},
    )  # fmt: skip
    processor = ChameleonProcessor(
        ChameleonImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer,
        image_seq_length=64,
    )
    return ChameleonForConditionalGeneration(config), processor


def _plain(tokenizer: Any) -> Any:
    """The tokenizer without named tokens: BLIP's processors bring their own image token."""
    names = {name: str(getattr(tokenizer, name)) for name in ("pad_token", "bos_token", "eos_token", "unk_token")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, **names)


def _blip_parts(tokenizer: Any, language: dict[str, Any]) -> dict[str, Any]:
    return {
        "vision_config": {**VISION, "image_size": 28, "patch_size": 14},
        "qformer_config": {**VISION, "encoder_hidden_size": 32, "vocab_size": len(tokenizer),
                           "pad_token_id": tokenizer.pad_token_id},
        "text_config": language,
        "num_query_tokens": 4,
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
    }  # fmt: skip


def blip2() -> tuple[Any, Any]:
    """BLIP-2 on OPT: query tokens before the text; no chat template."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = _plain(tiny_tokenizer("<image>"))
    opt = {"model_type": "opt", **_ids(tokenizer), "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2,
           "num_attention_heads": 4, "max_position_embeddings": 512, "word_embed_proj_dim": 32}  # fmt: skip
    images = BlipImageProcessorPil(size={"height": 28, "width": 28})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=4)
    return Blip2ForConditionalGeneration(Blip2Config(**_blip_parts(tokenizer, opt))), processor


def instructblip() -> tuple[Any, Any]:
    """InstructBLIP on a LLaMA: the query transformer reads the question too; no chat template."""
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, InstructBlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    tokenizer = _plain(tiny_tokenizer("<image>"))
    parts = _blip_parts(tokenizer, {"model_type": "llama", **TEXT, **_ids(tokenizer)})
    images = BlipImageProcessorPil(size={"height": 28, "width": 28})
    processor = InstructBlipProcessor(images, tokenizer, _plain(tiny_tokenizer("<image>")), num_query_tokens=4)
    return InstructBlipForConditionalGeneration(InstructBlipConfig(**parts)), processor


def mllama() -> tuple[Any, Any]:
    """Llama 3.2 Vision: the text attends to image tiles through layers of their own."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer = tiny_tokenizer("<|image|>")
    config = MllamaConfig(
        text_config={**TEXT, **_ids(tokenizer), "cross_attention_layers": [1], "num_hidden_layers": 3},
        vision_config={**VISION, "num_global_layers": 1, "image_size": 28, "patch_size": 14, "max_num_tiles": 2,
                       "attention_heads": 4, "vision_output_dim": 96, "intermediate_layers_indices": [0, 1],
                       "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]]},
        image_token_index=tokenizer.image_token_id,
    )  # fmt: skip
    images = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=2)
    processor = MllamaProcessor(images, tokenizer, chat_template="{{ bos_token }}" + template("<|image|>"))
    return MllamaForConditionalGeneration(config), processor


def idefics2() -> tuple[Any, Any]:
    """Idefics2: SigLIP, a perceiver, Mistral."""
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration, Idefics2Processor
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    tokenizer = tiny_tokenizer(
        image_boundary_token="<fake_token_around_image>", end_of_utterance_token="<end_of_utterance>"
    )
    config = Idefics2Config(
        text_config={"model_type": "mistral", **TEXT, **_ids(tokenizer)},
        vision_config={**VISION, "image_size": 28, "patch_size": 14},
        perceiver_config={"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 4,
                          "resampler_head_dim": 8, "num_key_value_heads": 2, "hidden_size": 32},
        image_token_id=tokenizer.image_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    images = Idefics2ImageProcessorPil(size={"shortest_edge": 14, "longest_edge": 28}, do_image_splitting=False)
    processor = Idefics2Processor(images, tokenizer, image_seq_len=4, chat_template=template("<image>"))
    return Idefics2ForConditionalGeneration(config), processor


def janus() -> tuple[Any, Any]:
    """Janus in deepseek-community's form: SigLIP-like tower, LLaMA; draws images too, which nobody asks for here."""
    from transformers import JanusConfig, JanusForConditionalGeneration, JanusProcessor
    from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

    tokenizer = tiny_tokenizer("<image_placeholder>", boi_token="<begin_of_image>", eoi_token="<end_of_image>")
    vision = {name: VISION[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    config = JanusConfig(
        text_config={"model_type": "llama", **TEXT, **_ids(tokenizer)},
        vision_config={**vision, "mlp_ratio": 2.0, "image_size": 28, "patch_size": 14, "projection_dim": 32,
                       "num_image_tokens": 4},
        vq_config={"embed_dim": 8, "num_embeddings": 8, "latent_channels": 8, "base_channels": 32,
                   "channel_multiplier": [1, 1], "num_res_blocks": 1, "projection_dim": 32,
                   "image_token_embed_dim": 32},
        image_token_id=tokenizer.image_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    images = JanusImageProcessorPil(size={"height": 28, "width": 28}, min_size=14)
    processor = JanusProcessor(images, tokenizer, chat_template=template("<image_placeholder>"), num_image_tokens=4)
    return JanusForConditionalGeneration(config), processor


def deepseek_vl() -> tuple[Any, Any]:
    """DeepSeek-VL in deepseek-community's form: SigLIP, LLaMA."""
    from transformers import DeepseekVLConfig, DeepseekVLForConditionalGeneration, DeepseekVLProcessor
    from transformers.models.deepseek_vl.image_processing_pil_deepseek_vl import DeepseekVLImageProcessorPil

    tokenizer = tiny_tokenizer("<image_placeholder>")
    config = DeepseekVLConfig(
        text_config={"model_type": "llama", **TEXT, **_ids(tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **VISION, "image_size": 28, "patch_size": 14,
                       "vision_use_head": False},
        image_token_id=tokenizer.image_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    images = DeepseekVLImageProcessorPil(size={"height": 28, "width": 28}, min_size=14)
    processor = DeepseekVLProcessor(
        images, tokenizer, chat_template=template("<image_placeholder>"), num_image_tokens=4
    )
    return DeepseekVLForConditionalGeneration(config), processor


def aya_vision() -> tuple[Any, Any]:
    """Aya Vision: SigLIP, pixel shuffle, Cohere 2, tiles."""
    from transformers import AyaVisionConfig, AyaVisionForConditionalGeneration, AyaVisionProcessor
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    named = {"start_token": "<|START_OF_IMG|>", "end_token": "<|END_OF_IMG|>", "patch_token": "<|IMG_PATCH|>",
             "line_token": "<|IMG_LINE_BREAK|>", "tile_token": "TILE", "global_token": "TILE_GLOBAL"}  # fmt: skip
    tokenizer = tiny_tokenizer("<image>", **named)
    config = AyaVisionConfig(
        text_config={"model_type": "cohere2", **TEXT, **_ids(tokenizer), "sliding_window": 512},
        vision_config={"model_type": "siglip_vision_model", **VISION, "image_size": 28, "patch_size": 7,
                       "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"), tie_word_embeddings=True,
    )  # fmt: skip
    images = GotOcr2ImageProcessorPil(
        size={"height": 28, "width": 28}, crop_to_patches=True, min_patches=1, max_patches=2
    )
    processor = AyaVisionProcessor(
        images, tokenizer, patch_size=7, img_size=28, downsample_factor=2, chat_template=template("<image>")
    )
    return AyaVisionForConditionalGeneration(config), processor


FURTHER_FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "paligemma": paligemma,
    "chameleon": chameleon,
    "blip2": blip2,
    "instructblip": instructblip,
    "mllama": mllama,
    "idefics2": idefics2,
    "janus": janus,
    "deepseek_vl": deepseek_vl,
    "aya_vision": aya_vision,
}


def build_further(family: str, seed: int = 0) -> tuple[Any, Any]:
    """(model, processor) with random weights whose logits are spread, so that greedy decoding has no ties."""
    torch.manual_seed(seed)
    model, processor = FURTHER_FAMILIES[family]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                torch.nn.init.normal_(parameter, std=1.0 if "embed_tokens" in name else parameter[0].numel() ** -0.5)
            elif "gate" in name:  # closed at the start of training: the image would not count
                torch.nn.init.ones_(parameter)
        model.get_output_embeddings().weight.mul_(4.0)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return model.eval(), processor


def save_further(family: str, folder: Path, seed: int = 0) -> Path:
    """Build and save a checkpoint."""
    model, processor = build_further(family, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
