"""A tiny LLaVA in the form that transformers 4.57 and 5 both load, so that two harnesses can run one model.

Vision and text 2 layers x 64, 56-pixel images. In the output layer the rows of special tokens are zero, so that no
response ends early and none holds an image marker (which evalkit suppresses and others write), and so are those of
bytes that are not printable characters: equal texts then come from equal tokens, as near as text can tell.
"""

import json
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = """
{%- for message in messages %}{{ message['role'].upper() + ': ' }}
{%- if message['content'] is string %}{{ message['content'] }}{% else %}
{%- for block in message['content'] %}{% if block['type'] == 'image' %}{{ '<image>\\n' }}{% endif %}{% endfor %}
{%- for block in message['content'] %}{% if block['type'] == 'text' %}{{ block['text'] }}{% endif %}{% endfor %}
{%- endif %}{{ ' ' }}{% endfor %}
{%- if add_generation_prompt %}ASSISTANT:{% endif %}"""


def save_for_both(folder: Path) -> Path:
    """Build the model, save it, and write names and files in their older form."""
    import torch

    from aligners.training.checkpoint import save_checkpoint
    from tests.tiny_models import build_tiny

    model, processor = build_tiny("llava", size=56, hidden=64)
    with torch.no_grad():
        model.get_output_embeddings().weight[unwanted_ids(processor.tokenizer)] = 0.0
    processor.chat_template = CHAT_TEMPLATE
    save_checkpoint(model, processor, folder)
    write_older_files(folder)
    return folder


def unwanted_ids(tokenizer: Any) -> list[int]:
    """Special tokens, and tokens whose text is not printable ASCII."""
    special = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids("<image>")}
    texts = {token: tokenizer.decode([token]) for token in range(len(tokenizer))}
    return [token for token, text in texts.items() if token in special or not (text.isascii() and text.isprintable())]


def write_older_files(folder: Path) -> None:
    """What version 5 writes in one file or under a new name, as version 4 looks for it."""
    processor = json.loads((folder / "processor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(processor.pop("image_processor")))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    path = folder / "tokenizer_config.json"
    tokenizer = json.loads(path.read_text()) | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "extra_special_tokens": {"image_token": "<image>"},
    }
    path.write_text(json.dumps(tokenizer))
