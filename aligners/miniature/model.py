"""The tiny LLaVA: tokenizer, processor and untrained model.

A real LlavaForConditionalGeneration below one million parameters: 72 x 72 pixels in nine patches (one for each cell
of a scene), a two-layer vision tower, a two-layer Llama, byte-level BPE of 512 entries. Attention heads have 32
dimensions, the least that vLLM serves.
"""

from collections.abc import Iterator
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from evalkit.miniature.captions import noisy_caption
from evalkit.miniature.questions import (
    DESCRIBE_PROMPTS,
    OPEN_KINDS,
    absent_nouns,
    ask_action,
    ask_colour,
    ask_existence,
    ask_neighbours,
    ask_number,
    ask_open,
    facts_text,
    list_question,
)
from evalkit.miniature.scenes import adjacent_cells, sample_scene

PATCH = 24  # pixels
IMAGE_SIDE = 72  # pixels
N_IMAGE_TOKENS = (IMAGE_SIDE // PATCH) ** 2
VOCABULARY = 512
VISION_WIDTH, VISION_HEADS, VISION_LAYERS = 96, 3, 2
TEXT_WIDTH, TEXT_HEADS, TEXT_LAYERS = 128, 4, 2
WIDENING = 3  # hidden layer of a block, in widths
CONTEXT = 512  # tokens
_WORD_STD = 0.15  # of word embeddings
_COPY_GAIN = 0.5
_LOOK = 1.2
_TOKENIZER_CAPTIONS = 4  # a scene: captions are most of what the model reads and writes, so their words come first

# A response starts on a new line: prompt and response are then the same tokens whether tokenised together or apart.
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %} "
    "{% else %}ASSISTANT:\n"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:\n{% endif %}"
)
BEFORE_IMAGE, AFTER_IMAGE, AFTER_PROMPT = "USER: ", "\n", " ASSISTANT:\n"  # the pieces of the template above


def build_processor() -> LlavaProcessor:
    """Tokenizer (trained now, always the same) and image processor, without torchvision."""
    square = {"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    image_processor = CLIPImageProcessorPil(
        size=square, crop_size=square, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=train_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    )


def train_tokenizer(n_scenes: int = 1500) -> PreTrainedTokenizerFast:
    """Byte-level BPE on captions, questions and prompts of this world."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>", "<image>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_texts(n_scenes), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )


def _tokenizer_texts(n_scenes: int) -> Iterator[str]:
    rng = Random("tokenizer")
    for index in range(n_scenes):
        scene = sample_scene(rng)
        yield BEFORE_IMAGE + AFTER_IMAGE + DESCRIBE_PROMPTS[index % len(DESCRIBE_PROMPTS)] + AFTER_PROMPT
        for _ in range(_TOKENIZER_CAPTIONS):
            yield noisy_caption(scene, rng)
        yield facts_text(scene.groups)
        questions = [
            ask_existence(scene, rng.choice(scene.groups).noun),
            ask_existence(scene, rng.choice(absent_nouns(scene)), "this image"),
            list_question(scene),
            ask_open(OPEN_KINDS[index % len(OPEN_KINDS)], scene, rng),
            *ask_number(scene, rng),
            *ask_colour(scene, rng)[:1],
            *ask_action(scene, rng)[:1],
            *ask_neighbours(scene)[:1],
        ]
        for question in questions:
            yield question.text + AFTER_PROMPT
            yield question.answer


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaForConditionalGeneration:
    """The untrained model; the Llama's linear layers start with std 1/sqrt(fan-in), those that write half that."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(_config(tokenizer))
    for name, parameter in model.model.language_model.named_parameters():
        if parameter.dim() == 2 and "embed" not in name:
            gain = 0.5 if "o_proj" in name or "down_proj" in name else 1.0
            nn.init.normal_(parameter, std=gain * parameter.shape[1] ** -0.5)
    _start_as_a_copier(model)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


@torch.no_grad()
def _start_as_a_copier(model: LlavaForConditionalGeneration) -> None:
    """Equal words attend to each other in the first layer; what the second attends to, the head names.

    Image tokens are taught to look like words before the Llama learns, so that it finds asked words among them and
    names what it sees from its first step on.
    """
    words = model.get_input_embeddings().weight
    nn.init.normal_(words, std=_WORD_STD)
    model.lm_head.weight.copy_(words)
    finder, namer = (layer.self_attn for layer in model.model.language_model.layers)
    half = TEXT_WIDTH // 2
    finder.k_proj.weight[:half] = finder.q_proj.weight[:half]  # the other heads stay free to look elsewhere
    nn.init.orthogonal_(namer.v_proj.weight)
    namer.o_proj.weight.copy_(_COPY_GAIN * namer.v_proj.weight.T)


@torch.no_grad()
def start_seeing_neighbours(model: LlavaForConditionalGeneration) -> None:
    """Two heads of the tower's second layer start by looking at the cells beside, above and below.

    And what the text model's first layer finds, it passes on with its halves exchanged: as `turned` embeddings of
    neighbours are taught to stand in the image tokens, a noun then carries its neighbours' nouns.
    """
    tower = model.model.vision_tower
    cells = N_IMAGE_TOKENS
    positions = tower.embeddings.position_embedding.weight
    positions[:, :cells] = 0
    positions[1:, :cells] = torch.eye(cells)  # after the class token
    near = torch.zeros(cells, cells)
    for cell in range(cells):
        near[cell, sorted(adjacent_cells(cell))] = 1
    looker = tower.encoder.layers[1].self_attn
    width = VISION_WIDTH // VISION_HEADS
    for start in (0, width):
        looker.q_proj.weight[start : start + width] = 0
        looker.k_proj.weight[start : start + width] = 0
        looker.q_proj.weight[start : start + cells, :cells] = _LOOK * near
        looker.k_proj.weight[start : start + cells, :cells] = _LOOK * torch.eye(cells)
    finder = model.model.language_model.layers[0].self_attn
    half = TEXT_WIDTH // 2
    read = torch.empty(half, TEXT_WIDTH)
    nn.init.orthogonal_(read)
    finder.v_proj.weight[:half] = turned(read)
    finder.o_proj.weight[:, :half] = read.T


def turned(words: Tensor) -> Tensor:
    """Embeddings with their halves exchanged, (..., D): as far from all others as a random one; twice is once."""
    return words.roll(words.shape[-1] // 2, dims=-1)


def _config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=VISION_WIDTH * WIDENING,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=VISION_HEADS,
        image_size=IMAGE_SIDE,
        patch_size=PATCH,
        projection_dim=VISION_WIDTH,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=TEXT_WIDTH * WIDENING,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=TEXT_HEADS,
        num_key_value_heads=TEXT_HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        **special,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=N_IMAGE_TOKENS,
        tie_word_embeddings=False,
        **special,
    )
