"""`evalkit convert`: an original LLaVA as an ordinary transformers checkpoint."""

import argparse
import sys
from pathlib import Path
from typing import Any

from evalkit.process.libraries import quick_imports
from evalkit.process.progress import hide_loading_bars

CONVERT = """reads a checkpoint in the format of the original LLaVA code (a whole folder, a LoRA adapter or a
projector over a base, LLaVA-RLHF's two folders) and writes one that transformers, vLLM and everybody
else loads, with the same numbers: padding and system text travel in it. What cannot be converted
exactly is refused, with the reason.

examples:
  evalkit convert llava-v1.5-7b --output-path llava-v1.5-7b-hf
  evalkit convert HALVA-7B-LORA --base liuhaotian/llava-v1.5-7b --output-path halva-7b
  evalkit convert llava-hf/llava-1.5-7b-hf --image-padding pad --system-text vicuna_v1 --output-path padded
"""


def add_convert(commands: Any) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "convert",
        help="original LLaVA folders, adapters and projectors -> an ordinary transformers checkpoint",
        description=CONVERT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="FOLDER", help="folder or hub name")
    parser.add_argument("--output-path", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--base", metavar="B", help="what an adapter or projector lies on; A+B: B over A")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="an adapter to merge")
    parser.add_argument("--vision-tower", metavar="T", help="folder or hub name of the vision tower")
    parser.add_argument("--image-padding", choices=("crop", "pad"), help="default: the checkpoint's own")
    parser.add_argument("--system-text", metavar="S", help="none, vicuna_v1, llava_v1 or a text (default: its own)")
    parser.add_argument("--dtype", default="auto", metavar="D", help="float16, bfloat16, float32 (default: as stored)")
    parser.add_argument("--revision", help="branch, tag or commit of a hub model")
    parser.set_defaults(command=convert_checkpoint)


def convert_checkpoint(options: argparse.Namespace) -> int:
    """`evalkit convert`."""
    with quick_imports():
        from evalkit.engines.model.saved.converting import LINEAR, convert
    from evalkit.engines.model.inputs.settings import InputSettings

    hide_loading_bars()
    facts = convert(
        options.checkpoint,
        options.output_path,
        adapter=options.adapter,
        base=options.base,
        vision_tower=options.vision_tower,
        inputs=InputSettings(options.image_padding, options.system_text),
        dtype=options.dtype,
        revision=options.revision,
    )
    for name in ("base", "layers", "vision_tower", "vision_tower_reason"):
        if facts.get(name):
            print(f"{name.replace('_', ' ')}: {facts[name]}")
    if facts.get("projector") == "linear":
        print(f"evalkit: vLLM cannot serve this: {LINEAR}", file=sys.stderr)
    print(f"{options.output_path}: evalkit run --model {options.output_path} ...")
    return 0
