"""Chat templates of the original's conversation versions; the system text is apart (inputs/system_texts.py).

vicuna   SYSTEM USER: <image>\\nquestion ASSISTANT: answer</s>      vicuna_v1, llava_v1
mistral  [INST] <image>\\nquestion [/INST] answer </s>              mistral_instruct
chatml   <|im_start|>user\\n<image>\\nquestion<|im_end|>...          chatml_direct: where the tokens are known
"""

from collections.abc import Mapping
from typing import Any

from evalkit.engines.model.original_llava.configuration import backbone_of, is_anyres
from evalkit.engines.model.original_llava.vocabulary import IMAGE, IMAGE_END, IMAGE_START

CHATML_START = "<|im_start|>"
_CONTENT = (
    "{%- for block in message['content'] if block['type'] == 'image' %}{{ 'MARKER\\n' }}{% endfor %}"
    "{%- for block in message['content'] if block['type'] == 'text' %}{{ block['text'] }}{% endfor %}"
)
_VICUNA = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{ 'ASSISTANT: ' }}"
    "{%- elif message['role'] == 'user' %}{{ 'USER: ' }}{% endif %}"
    f"{_CONTENT}"
    "{%- if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ ' ' }}{% endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_MISTRAL = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{ '[INST] ' }}{% elif message['role'] == 'assistant' %}{{ ' ' }}{% endif %}"
    f"{_CONTENT}"
    "{%- if message['role'] == 'user' %}{{ ' [/INST]' }}"
    "{%- elif message['role'] == 'assistant' %}{{ ' ' + eos_token }}{% else %}{{ ' ' }}{% endif %}"
    "{%- endfor %}"
)
_CHATML = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    f"{_CONTENT}"
    "{{- '<|im_end|>NEWLINE' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chat_template(raw: Mapping[str, Any], tokenizer: Any) -> str:
    """The template of a model; images first, as the original's own evaluation writes them."""
    template = _VICUNA
    if CHATML_START in tokenizer.get_vocab():
        # chatml_direct of v1.6-34b writes no line end between turns, the Qwen conversations do
        template = _CHATML.replace("NEWLINE", "\\n" if backbone_of(raw) == "qwen2" else "")
    elif backbone_of(raw) == "mistral":
        template = _MISTRAL
    marker = f"{IMAGE_START}{IMAGE}{IMAGE_END}" if raw.get("mm_use_im_start_end") else IMAGE
    return template.replace("MARKER", marker)


def usual_system_text(raw: Mapping[str, Any], tokenizer: Any, tuned_by_rlhf: bool) -> str:
    """Name of the system text with which the authors evaluate such a model."""
    if CHATML_START in tokenizer.get_vocab() or backbone_of(raw) == "mistral":
        return "none"
    return "llava_v1" if is_anyres(raw) or tuned_by_rlhf else "vicuna_v1"
