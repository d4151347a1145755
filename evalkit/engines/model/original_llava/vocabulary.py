"""Tokenizer and processor of an original LLaVA folder: the original's ids, and an image token without a new row.

The original tokenises every stretch of text between two images by itself, so that a "▁" follows an image. The
tokenizer's `legacy` mode does just that with the stretches between special tokens; the `legacy: false` that the folders
carry loses this token, and AutoTokenizer under model_type llava even the one at the beginning.

The image token takes the id of a token that no text ever gives: the byte 0 of a sentencepiece vocabulary, else an
unused row of the embedding. No row is added, so the softmax is the original's to the last bit.
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.engines.model.inputs.settings import padding_processor
from evalkit.engines.model.original_llava.configuration import backbone_of, grid_pinpoints, is_anyres
from evalkit.engines.model.original_llava.folders import read_json
from evalkit.engines.model.original_llava.sentencepiece_bpe import with_own_merges
from evalkit.engines.model.original_llava.towers import Tower
from evalkit.errors import EngineError

IMAGE, IMAGE_START, IMAGE_END, IMAGE_PATCH = "<image>", "<im_start>", "<im_end>", "<im_patch>"
SPARE, SENTENCEPIECE = "<0x00>", "tokenizer.model"
_IMAGE_SETTINGS = (
    *("size", "crop_size", "image_mean", "image_std", "resample", "rescale_factor"),
    *("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"),
)


def load_tokenizer(folder: Path, raw: Mapping[str, Any], rows: int) -> tuple[Any, int]:
    """(tokenizer, id of its image token).

    Raises:
        EngineError: if the folder has no vocabulary, its tokens do not fit into `rows`, or no id is spare.
    """
    from transformers import LlamaTokenizer, Qwen2Tokenizer

    sentencepiece = (folder / SENTENCEPIECE).is_file()
    if not sentencepiece and not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise EngineError(f"{folder}: no tokenizer there (tokenizer.model, tokenizer.json or vocab.json)")
    if sentencepiece and importlib.util.find_spec("sentencepiece") is None:
        raise EngineError(f"{folder}/{SENTENCEPIECE} needs sentencepiece: pip install 'hallu-evalkit[llava]'")
    kind: Any = Qwen2Tokenizer if backbone_of(raw) == "qwen2" else LlamaTokenizer
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    own = {"legacy": True, "add_bos_token": settings.get("add_bos_token", True)} if kind is LlamaTokenizer else {}
    try:
        tokenizer = kind.from_pretrained(folder, trust_remote_code=False, **own)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise EngineError(f"cannot load the tokenizer of {folder}: {str(error).splitlines()[0][:200]}") from error
    _add_image_tokens(tokenizer, raw, rows)
    wanted = [token for token in (IMAGE_START, IMAGE_END) if raw.get("mm_use_im_start_end")]
    outside = [token for token in wanted if tokenizer.convert_tokens_to_ids(token) >= rows]
    if outside:
        raise EngineError(f"{folder}: {' and '.join(outside)} lie beyond the {rows} rows of the embedding")
    if tokenizer.pad_token_id is None:  # batches are padded with what no mask lets through
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return _with_image_token(tokenizer, rows, folder)


def _add_image_tokens(tokenizer: Any, raw: Mapping[str, Any], rows: int) -> None:
    """What the original adds at load, in its order, where the files do not hold it yet.

    <im_patch> is added unless config.json says no; nobody uses it, and where no row is left for it, it is left out.
    """
    if raw.get("mm_use_im_patch_token", True) and len(tokenizer) < rows:
        tokenizer.add_tokens([IMAGE_PATCH], special_tokens=True)
    if raw.get("mm_use_im_start_end", False):
        tokenizer.add_tokens([IMAGE_START, IMAGE_END], special_tokens=True)


def _with_image_token(tokenizer: Any, rows: int, folder: Path) -> tuple[Any, int]:
    """The same vocabulary as a tokenizer that is saved and loaded as it stands, with an image token at a spare id."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if (folder / SENTENCEPIECE).is_file():
        state = with_own_merges(state, folder / SENTENCEPIECE)
    vocabulary, added = state["model"]["vocab"], {token["content"]: token["id"] for token in state["added_tokens"]}
    if IMAGE not in vocabulary and IMAGE not in added and SPARE in vocabulary:
        vocabulary[IMAGE] = vocabulary.pop(SPARE)
    backend = Tokenizer.from_str(json.dumps(state))
    backend.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    image = int(backend.token_to_id(IMAGE) or 0)
    if image >= rows:
        raise EngineError(
            f"{folder}: no id is spare for the image token: the vocabulary has {len(tokenizer)} tokens, the embedding "
            f"{rows} rows"
        )
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    plain = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        model_max_length=tokenizer.model_max_length,
        model_input_names=["input_ids", "attention_mask"],
        **{name: special[name] for name in names if name in special},
    )
    return plain, image


def make_processor(raw: Mapping[str, Any], tower: Tower, tokenizer: Any, chat_template: str, image_backend: str) -> Any:
    """LlavaProcessor or LlavaNextProcessor with the tower's image settings."""
    from transformers import LlavaNextProcessor, LlavaProcessor

    processor = LlavaNextProcessor if is_anyres(raw) else LlavaProcessor
    return processor(
        image_processor=_image_processor(raw, tower, image_backend),
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy="full" if raw.get("mm_vision_select_feature") == "cls_patch" else "default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    )


def _image_processor(raw: Mapping[str, Any], tower: Tower, image_backend: str) -> Any:
    side = tower.config.image_size
    settings: dict[str, Any] = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    own = tower.images or {}
    settings |= {name: own[name] for name in _IMAGE_SETTINGS if name in own}
    if isinstance(settings["size"], int):
        settings["size"] = {"shortest_edge": settings["size"]}
    if isinstance(settings["crop_size"], int):
        settings["crop_size"] = {"height": settings["crop_size"], "width": settings["crop_size"]}
    if is_anyres(raw):
        return _tiling(image_backend)(image_grid_pinpoints=grid_pinpoints(raw), **settings)
    return padding_processor(image_backend)(do_pad=raw.get("image_aspect_ratio") == "pad", **settings)


def _tiling(image_backend: str) -> Any:
    if image_backend == "torchvision":
        from transformers import LlavaNextImageProcessor

        return LlavaNextImageProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    return LlavaNextImageProcessorPil
