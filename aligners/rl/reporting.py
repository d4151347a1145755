"""Lines of a rollout's log on Weights & Biases, Trackio or TensorBoard, for the loop here, which is no Trainer."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from evalkit.schema import Json


def reporter(report_to: Sequence[str], folder: Path) -> Callable[[Mapping[str, Json]], None]:
    """Sends lines to where transformers' Trainer would send its own.

    Args:
        report_to: "wandb", "trackio", "tensorboard"; none: nothing is sent.
        folder: of the run; TensorBoard writes below it.
    """
    if not report_to:
        return lambda line: None
    arguments = TrainingArguments(output_dir=str(folder), report_to=list(report_to), use_cpu=True)
    state, control = TrainerState(), TrainerControl()
    callbacks = [kind() for kind in get_reporting_integration_callbacks(list(report_to))]
    for callback in callbacks:
        callback.on_train_begin(arguments, state, control)

    def send(line: Mapping[str, Json]) -> None:
        state.global_step = int(line["step"])
        for callback in callbacks:
            callback.on_log(arguments, state, control, logs=dict(line))

    return send
