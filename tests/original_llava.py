"""Tiny random folders in the format of the original LLaVA code, and that code's data flow written again by other means.

    make_original(folder, ...)      config.json, weights and vocabulary with the names that liuhaotian/llava-v1.5-7b has
    Reference(folder, ...)          sentencepiece by hand, LLaMA on embeddings with the projected patches spliced in

Nothing here uses evalkit. Folders weigh a few hundred kB.
"""

import json
import math
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from PIL import Image

IMAGE = -200  # the original's id of an image
HIDDEN, SIDE, PATCH = 32, 28, 14
IMAGE_TOKENS = ("<im_patch>", "<im_start>", "<im_end>")
_TEXT = (
    "A chat between a user and an assistant. USER: Is there a dog in the image? ASSISTANT: Yes, there is a dog.",
    "Please describe this image in detail. The image shows a kitchen with a table, two chairs and a cup.",
    "No, there is no traffic light in the picture. yes no Yes No [INST] question [/INST] answer",
    "This is a conversation of a human with an artificial intelligence assistant, who answers each question politely.",
)


def real_vocabulary() -> Path | None:
    """A published sentencepiece file of 32,000 tokens: EVALKIT_SENTENCEPIECE, what `make vocabulary` fetched, or the
    one inside an installed mistral-common."""
    given = Path(
        os.environ.get("EVALKIT_SENTENCEPIECE") or Path(__file__).parents[1] / ".vocabulary/tokenizer.model.v1"
    )
    if given.is_file():
        return given
    spec = find_spec("mistral_common")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) / "data" / "tokenizer.model.v1" if places else None


def tiny_vocabulary(path: Path, size: int = 480) -> Path:
    """A sentencepiece model with LLaMA's settings (bytes as fallback, `<0x00>` at id 3), trained on a few sentences."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXT * 30),
        model_prefix=str(path.with_suffix("")),
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    return path


def make_tower(folder: Path, side: int = SIDE, seed: int = 5) -> Path:
    """A CLIP vision tower with its preprocessor_config.json."""
    from transformers import CLIPVisionConfig, CLIPVisionModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=side,
        patch_size=PATCH, projection_dim=HIDDEN,
    )  # fmt: skip
    model = CLIPVisionModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    size = {"height": side, "width": side}
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size).save_pretrained(folder)
    return folder


def flat_config(tower: Path | str, rows: int, **changes: Any) -> dict[str, Any]:
    """config.json with the fields of published folders."""
    return {
        "_name_or_path": "llava-v1.5-7b", "architectures": ["LlavaLlamaForCausalLM"], "bos_token_id": 1,
        "eos_token_id": 2, "freeze_mm_mlp_adapter": False, "hidden_act": "silu", "hidden_size": HIDDEN,
        "image_aspect_ratio": "pad", "initializer_range": 0.02, "intermediate_size": 64, "max_length": 4096,
        "max_position_embeddings": 4096, "mm_hidden_size": HIDDEN, "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None, "mm_use_im_patch_token": False, "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "mm_vision_tower": str(tower),
        "model_type": "llava", "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 4,
        "pad_token_id": 0, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.31.0",
        "tune_mm_mlp_adapter": False, "unfreeze_mm_vision_tower": False, "use_cache": True, "use_mm_proj": True,
        "vocab_size": rows, **changes,
    }  # fmt: skip


def language_model(raw: dict[str, Any]) -> Any:
    """The language model of a flat config.json."""
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    kinds = {
        "LlavaMistralForCausalLM": (MistralConfig, MistralForCausalLM),
        "LlavaQwenForCausalLM": (Qwen2Config, Qwen2ForCausalLM),
    }
    config, model = kinds.get(raw["architectures"][0], (LlamaConfig, LlamaForCausalLM))
    own = ("hidden_", "num_", "intermediate", "max_pos", "rms", "vocab", "bos_", "eos_", "pad_", "tie_", "rope_s")
    return model(config(**{name: value for name, value in raw.items() if name.startswith(own)}))


def random_projector(linear: bool) -> dict[str, torch.Tensor]:
    """A projector's weights in the original's names."""
    layers = [""] if linear else ["0.", "2."]
    return {
        f"model.mm_projector.{layer}{kind}": torch.randn(*([HIDDEN] * (2 if kind == "weight" else 1))) * 0.3
        for layer in layers
        for kind in ("weight", "bias")
    }


def make_original(
    folder: Path,
    tower: Path,
    vocabulary: Path,
    *,
    binary: bool = True,
    tower_inside: bool = False,
    image_tokens: bool = False,
    newline: bool = False,
    seed: int = 0,
    rows: int | None = None,
    **changes: Any,
) -> Path:
    """A whole model. `image_tokens`: vocabulary and rows hold <im_patch>, <im_start>, <im_end>; `changes`: config.json.

    `mm_projector_type=None` leaves the field out, as one linear layer does.
    """
    from transformers import CLIPVisionModel

    torch.manual_seed(seed)
    words = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary)).get_piece_size()
    rows = rows or words + (3 if image_tokens else 0)
    raw = flat_config(tower, rows, **changes)
    linear = raw["mm_projector_type"] is None
    if linear:
        del raw["mm_projector_type"]
    model = language_model(raw)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=1.0 if "embed" in name else 0.3)
    state = dict(model.state_dict()) | random_projector(linear)
    if tower_inside:
        for name, value in CLIPVisionModel.from_pretrained(tower).state_dict().items():
            state[f"model.vision_tower.vision_tower.vision_model.{name.removeprefix('vision_model.')}"] = value
    if newline:
        state["model.image_newline"] = torch.randn(HIDDEN)
    folder.mkdir(parents=True)
    write_weights(folder, state, binary)
    write_json(folder / "config.json", raw)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
    write_vocabulary(folder, vocabulary, words, image_tokens)
    return folder


def write_weights(folder: Path, state: dict[str, torch.Tensor], binary: bool) -> None:
    """Two .bin shards with an index, or one safetensors file."""
    from safetensors.torch import save_file

    if not binary:
        save_file(
            {name: value.clone() for name, value in state.items()}, folder / "model.safetensors", {"format": "pt"}
        )
        return
    names, places = list(state), {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: state[name].clone() for name in part}, folder / file)
        places |= dict.fromkeys(part, file)
    write_json(folder / "pytorch_model.bin.index.json", {"metadata": {"total_size": 1}, "weight_map": places})


def write_vocabulary(folder: Path, vocabulary: Path, words: int, image_tokens: bool) -> None:
    """tokenizer.model with the files that a slow tokenizer saves."""
    (folder / "tokenizer.model").write_bytes(vocabulary.read_bytes())
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"add_bos_token": True, "add_eos_token": False, "legacy": False, "model_max_length": 2048, **special}
    settings |= {"tokenizer_class": "LlamaTokenizer", "pad_token": None, "sp_model_kwargs": {}, "padding_side": "right"}
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", special | {"pad_token": "<unk>"})
    if image_tokens:
        write_json(folder / "added_tokens.json", {token: words + i for i, token in enumerate(IMAGE_TOKENS)})


def make_lora(
    folder: Path,
    base: Path,
    *,
    rank: int = 4,
    alpha: int = 8,
    projector: bool = True,
    binary: bool = True,
    seed: int = 1,
) -> Path:
    """An adapter as the original's training saves it: bare target modules, a projector beside it, a flat config.json.

    Without `projector` it is as LLaVA-RLHF publishes one: adapter files alone.
    """
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    raw = json.loads((base / "config.json").read_text())
    sizes = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (HIDDEN, HIDDEN), "mlp.down_proj": (64, HIDDEN)}
    weights = {}
    for layer in range(raw["num_hidden_layers"]):
        for name, (inner, outer) in sizes.items():
            place = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(rank, inner) * 0.2
            weights[f"{place}.lora_B.weight"] = torch.randn(outer, rank) * 0.2
    folder.mkdir(parents=True)
    if binary:
        torch.save(weights, folder / "adapter_model.bin")
    else:
        save_file(weights, folder / "adapter_model.safetensors")
    settings = {"base_model_name_or_path": "/home/author/checkpoints/vicuna", "bias": "none", "fan_in_fan_out": False}
    settings |= {
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": 0.05,
        "r": rank,
    }
    targets = sorted(name.rpartition(".")[2] for name in sizes)
    settings |= {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": targets, "modules_to_save": None}
    write_json(folder / "adapter_config.json", settings)
    if projector:
        loose = random_projector("mm_projector_type" not in raw)
        torch.save(
            {f"base_model.model.{name}": value for name, value in loose.items()}, folder / "non_lora_trainables.bin"
        )
        write_json(folder / "config.json", raw)
    return folder


def make_projector(folder: Path, config: dict[str, Any], seed: int = 2) -> Path:
    """A projector-only upload: mm_projector.bin and the flat config.json."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    torch.save(random_projector("mm_projector_type" not in config), folder / "mm_projector.bin")
    write_json(folder / "config.json", config)
    return folder


def write_json(path: Path, value: Any) -> None:
    """A JSON file."""
    path.write_text(json.dumps(value, indent=1))


# --- the original's data flow -------------------------------------------------------------------------------------


class Reference:
    """A folder's model by the original's data flow; adapters and projectors are applied in the order given."""

    def __init__(
        self, folder: Path, tower: Path | None, layers: Iterable[Path] = (), config: Path | None = None
    ) -> None:
        """`tower` None takes the weights stored in the folder."""
        from transformers import CLIPVisionConfig, CLIPVisionModel

        self.raw = json.loads(((config or folder) / "config.json").read_text())
        self.folder = folder
        self.state = {name: value.float() for name, value in _read_all(folder).items()}
        for layer in layers:
            self._apply(layer)
        self.llm = language_model(self.raw).eval()
        own = {n: v for n, v in self.state.items() if not n.startswith(("model.mm_", "model.vision_", "model.image_"))}
        self.llm.load_state_dict(own)
        self.tower_folder = tower or Path(self.raw["mm_vision_tower"])
        if tower is not None:
            self.tower = CLIPVisionModel.from_pretrained(tower).eval()
        else:
            prefix = "model.vision_tower.vision_tower.vision_model."
            self.tower = CLIPVisionModel(CLIPVisionConfig.from_pretrained(self.tower_folder)).eval()
            self.tower.load_state_dict(
                {n.removeprefix(prefix): v for n, v in self.state.items() if n.startswith(prefix)}
            )

    def _apply(self, layer: Path) -> None:
        for name in ("mm_projector.bin", "non_lora_trainables.bin"):
            if (layer / name).is_file():
                loose = torch.load(layer / name, weights_only=True)
                self.state |= {key.removeprefix("base_model.model."): value.float() for key, value in loose.items()}
        if not (layer / "adapter_config.json").is_file():
            return
        settings = json.loads((layer / "adapter_config.json").read_text())
        weights = _read_all(layer)
        for name in [name for name in weights if name.endswith(".lora_A.weight")]:
            place = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
            product = weights[name.replace("lora_A", "lora_B")] @ weights[name]
            self.state[place] = self.state[place] + product * (settings["lora_alpha"] / settings["r"])

    def ids(self, text: str) -> list[int]:
        """Token ids of a prompt with "<image>" in it: every stretch for itself, images as IMAGE."""
        words = sentencepiece.SentencePieceProcessor(model_file=str(self.folder / "tokenizer.model"))
        added = {token: words.get_piece_size() + i for i, token in enumerate(IMAGE_TOKENS)}
        added["<image>"] = IMAGE
        ids, stretch = [1], ""
        while text:
            token = next((token for token in added if text.startswith(token)), None)
            if token is None:
                stretch, text = stretch + text[0], text[1:]
                continue
            ids += [*(words.encode(stretch) if stretch else []), added[token]]
            stretch, text = "", text.removeprefix(token)
        return ids + (words.encode(stretch) if stretch else [])

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """What the tower sees: padded to a square where config.json says so."""
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

        processor = CLIPImageProcessorPil.from_pretrained(self.tower_folder)
        if self.raw.get("image_aspect_ratio") == "pad" and image.width != image.height:
            colour = tuple(int(mean * 255) for mean in processor.image_mean)
            side = max(image.size)
            square = Image.new("RGB", (side, side), colour)
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            image = square
        pixels: torch.Tensor = processor(image, return_tensors="pt")["pixel_values"]
        return pixels

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected patches (images, patches, D)."""
        with torch.no_grad():
            hidden = self.tower(pixels, output_hidden_states=True).hidden_states[self.raw["mm_vision_select_layer"]]
            if self.raw["mm_vision_select_feature"] == "patch":
                hidden = hidden[:, 1:]
            return self.project(hidden)

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        """Through the projector."""
        linear = torch.nn.functional.linear
        weights = {n.removeprefix("model.mm_projector."): v for n, v in self.state.items() if "mm_projector" in n}
        if "weight" in weights:
            return linear(hidden, weights["weight"], weights["bias"])
        hidden = torch.nn.functional.gelu(linear(hidden, weights["0.weight"], weights["0.bias"]))
        return linear(hidden, weights["2.weight"], weights["2.bias"])

    def logits(self, ids: list[int], patches: torch.Tensor) -> torch.Tensor:
        """Logits (T, V) of a prompt whose one image has these patches (P, D)."""
        table = self.llm.get_input_embeddings()
        with torch.no_grad():
            pieces = [patches if token == IMAGE else table(torch.tensor([token])) for token in ids]
            logits: torch.Tensor = self.llm(inputs_embeds=torch.cat(pieces)[None]).logits[0]
        return logits

    def greedy(self, ids: list[int], patches: torch.Tensor, steps: int, never: int = 3) -> list[int]:
        """Greedy token ids up to the end token."""
        found: list[int] = []
        for _ in range(steps):
            last = self.logits(ids + found, patches)[-1]
            last[never] = -torch.inf
            token = int(last.argmax())
            if token == 2:
                break
            found.append(token)
        return found


def _read_all(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    state: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        state |= load_file(path)
    for path in sorted([*folder.glob("pytorch_model*.bin"), *folder.glob("adapter_model.bin")]):
        state |= torch.load(path, weights_only=True)
    return state


# --- LLaVA-1.6: tiles ---------------------------------------------------------------------------------------------


def tiles(reference: Reference, image: Image.Image) -> tuple[torch.Tensor, tuple[int, int]]:
    """(pixels (1 + tiles, 3, S, S), best size (width, height)): the whole image resized, then its tiles on black."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil.from_pretrained(reference.tower_folder)
    side = processor.crop_size["height"]
    best, most, least = (0, 0), 0, 1 << 30
    for width, height in reference.raw["image_grid_pinpoints"]:
        scale = min(width / image.width, height / image.height)
        shown = min(int(image.width * scale) * int(image.height * scale), image.width * image.height)
        wasted = width * height - shown
        if shown > most or (shown == most and wasted < least):
            best, most, least = (width, height), shown, wasted
    scale_w, scale_h = best[0] / image.width, best[1] / image.height
    size = (
        (best[0], min(math.ceil(image.height * scale_w), best[1]))
        if scale_w < scale_h
        else (min(math.ceil(image.width * scale_h), best[0]), best[1])
    )
    canvas = Image.new("RGB", best, (0, 0, 0))
    canvas.paste(image.resize(size), ((best[0] - size[0]) // 2, (best[1] - size[1]) // 2))
    parts = [canvas.crop((x, y, x + side, y + side)) for y in range(0, best[1], side) for x in range(0, best[0], side)]
    pixels: torch.Tensor = processor([image.resize((side, side)), *parts], return_tensors="pt")["pixel_values"]
    return pixels, best


def tiled_features(reference: Reference, image: Image.Image) -> torch.Tensor:
    """Patches (P, D) of an image: the whole one, then the tiles put together, their padding cut, a newline per row."""
    pixels, (width, height) = tiles(reference, image)
    base, *rest = reference.features(pixels)
    side = math.isqrt(base.shape[0])
    across, down = width // pixels.shape[-1], height // pixels.shape[-2]
    whole = torch.stack(rest).view(down, across, side, side, -1).permute(4, 0, 2, 1, 3).flatten(1, 2).flatten(2, 3)
    high, wide = whole.shape[1:]
    if image.width / image.height > wide / high:
        cut = (high - int(image.height * (wide / image.width))) // 2
        whole = whole[:, cut : high - cut, :]
    else:
        cut = (wide - int(image.width * (high / image.height))) // 2
        whole = whole[:, :, cut : wide - cut]
    newline = reference.state["model.image_newline"][:, None, None].expand(*whole.shape[:-1], 1)
    return torch.cat([base, torch.cat([whole, newline], -1).flatten(1, 2).transpose(0, 1)])
