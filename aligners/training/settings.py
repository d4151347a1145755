"""Settings as a user gives them, from a command line or a dict: each value must be of its setting's kind.

Without this a word such as "no" would pass for true, and a number as text would fail somewhere in the middle of a run.
"""

from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from evalkit.errors import UsageError

LOADING = ("attention", "max_pixels", "quantize")  # of ModelSettings; unset they stand on no card, as before they were
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_kinds(settings: Any) -> None:
    """Compare the fields of a dataclass with their annotations: plain kinds, Literal, dataclasses and unions of these.

    Raises:
        UsageError: if a value is of another kind (a whole number passes for a number).
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value, options = getattr(settings, field.name), _options(hints[field.name])
        if options and not any(_fits(value, option) for option in options):
            words = " or ".join(_described(option) for option in options if option is not NoneType)
            raise UsageError(f"{field.name} is {words}, not {value!r}")


def check_range(settings: Any, *names: str, low: float = 0.0, inclusive: bool = False) -> None:
    """Raise UsageError for a field that is not above `low` (with `inclusive`, below it); None passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (value > low or (inclusive and value == low)):
            raise UsageError(f"{name} is {'at least' if inclusive else 'above'} {low:g}, not {value!r}")


def _options(hint: Any) -> tuple[Any, ...]:
    """The kinds a field may have; none where they are not plain (a mapping, say)."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return options if all(isinstance(o, type) or get_origin(o) is Literal for o in options) else ()


def _fits(value: Any, option: Any) -> bool:
    if get_origin(option) is Literal:
        return value in get_args(option)
    if isinstance(value, bool):
        return option is bool
    return isinstance(value, (int, float) if option is float else option)


def _described(option: Any) -> str:
    if get_origin(option) is Literal:
        return " or ".join(map(repr, get_args(option)))
    return _WORDS.get(option) or str(option.__name__)


def halved(rows: int) -> int:
    """The largest number of rows, at most half as many, that divides them.

    >>> halved(8), halved(6), halved(9), halved(7)
    (4, 3, 3, 1)
    """
    return next(size for size in range(rows // 2, 0, -1) if rows % size == 0)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is trained of a model, in which precision, and how a step is cut up.

    lora                   train an adapter; None: for models beyond 1e9 parameters
    lora_rank, lora_alpha, lora_dropout   of the adapter
    merge_adapter          fold the adapter into the weights when done, so that a whole model is saved
    train_vision           train the vision tower too (full training only)
    train_projector        train what joins tower and language model (full training only)
    bf16                   autocast to bfloat16; None: on a GPU that has it
    save_dtype             type of the saved weights; None: as the start's are stored
    gradient_checkpointing compute activations again in the backward pass; None: for models beyond 1e9 parameters
    attention              of transformers: "sdpa", "eager", "flash_attention_2" ...; None: the model's own choice
    max_pixels             larger images are scaled down to as many, where a model takes images of any size (Qwen-VL)
    quantize               "nf4": hold the frozen base of an adapter in 4 bits (QLoRA)
    micro_batch_size       rows in one forward pass on one device; None: all of a device's share, halved until it fits
    weight_decay           of AdamW; max_grad_norm: of the clipped gradient
    save_steps             steps between training checkpoints; None: a quarter of the run
    log_steps              steps between lines of the log
    workers                processes that prepare batches
    """

    lora: bool | None = None
    lora_rank: int = 64
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    merge_adapter: bool = False
    train_vision: bool = False
    train_projector: bool = True
    bf16: bool | None = None
    save_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    gradient_checkpointing: bool | None = None
    attention: str | None = None
    max_pixels: int | None = None
    quantize: Literal["nf4"] | None = None
    micro_batch_size: int | None = None
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 0
    save_steps: int | None = None
    log_steps: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range(self, "micro_batch_size", "lora_rank", "lora_alpha", "save_steps", "log_steps", "max_pixels")
        check_range(self, "weight_decay", "max_grad_norm", "lora_dropout", "workers", inclusive=True)
        if self.quantize and (self.lora is not True or self.merge_adapter):
            raise UsageError("a quantised base holds an adapter and takes none in: set lora=true, merge_adapter=false")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(ModelSettings):
    """How to train on rows, whatever the loss.

    learning_rate          peak; cosine schedule after `warmup_ratio` of the steps
    lora_learning_rate     takes its place where an adapter is trained; None: the same rate
    epochs, max_steps      passes over the rows, or a number of steps instead
    batch_size             rows per optimiser step, over all devices
    """

    learning_rate: float
    lora_learning_rate: float | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 32
    warmup_ratio: float = 0.03

    def __post_init__(self) -> None:
        ModelSettings.__post_init__(self)
        check_range(self, "learning_rate", "lora_learning_rate", "epochs", "max_steps", "batch_size")
        check_range(self, "warmup_ratio", inclusive=True)
