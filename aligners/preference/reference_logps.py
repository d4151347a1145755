"""Log-probabilities of the frozen start model: computed once per model and data, stored per token.

The file's name holds a hash of everything that can change the numbers: the model's weights, its chat template and image
transform, the token ids, the image bytes, and whether the forward pass is in bfloat16: a reference in another precision
than the policy's would be a policy that has moved before it was trained. Token weights and all loss settings may change
without a new computation.

Pairs about one image are read in one row where the model packs pairs at all and the first such batch agrees with its
pairs read one by one; the numbers differ by rounding (below 1e-5 nats a token), in float32. In half precision rounding
is large enough for training to begin off its reference, so there every pair is read as it is trained on.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aligners.preference.encoding import Layout, PairBatch, PairEncoder, TokenPair
from aligners.preference.layouts import agree, move, response_logps
from aligners.training.checkpoint import weights_hash
from aligners.training.processes.sharding import is_sharded, reshard
from aligners.training.processes.shared import process_count, process_rank
from aligners.training.response_logps import bare, measuring
from evalkit.engines.model.batching import free_memory, is_out_of_memory
from evalkit.engines.served.groups import together
from evalkit.errors import TrainingError
from evalkit.files.atomic import replaced
from evalkit.process.progress import Progress


@dataclass(frozen=True, slots=True)
class ReferenceLogps:
    """Log-probabilities of all pairs, and how long computing them took when it was done (seconds)."""

    pairs: "tuple[PairLogps, ...]"
    seconds: float


@dataclass(frozen=True, slots=True)
class PairLogps:
    """Log-probabilities of both responses of a pair, one number a token, nats."""

    chosen: Tensor
    rejected: Tensor


def reference_logps(
    model: Any,
    encoder: PairEncoder,
    pairs: Sequence[TokenPair],
    folder: Path,
    *,
    layout: Layout,
    bf16: bool = False,
    batch_size: int = 8,
    progress: Progress | None = None,
    model_hash: str | None = None,
) -> ReferenceLogps:
    """Per-token log-probabilities of every pair under `model`, from `folder` if they have been computed before.

    With torch.distributed running, every process computes its share and the first one writes. The weights may be
    sharded: an adapter is then on them, which as it begins changes nothing.

    Args:
        folder: holds `reference-<hash>.safetensors`.
        layout: see `aligners.preference.layouts.find_layout`.
        bf16: autocast to bfloat16, as the policy's training does.
        batch_size: pairs in one forward pass.
        progress: called with ("reference", pairs done, pairs in all).
        model_hash: `weights_hash(model)` if it is known already.
    """
    path = folder / f"reference-{content_key(model, encoder, pairs, model_hash, bf16)}.safetensors"
    stored = _read(path, pairs)
    if stored is not None:
        return stored
    begin = time.perf_counter()
    with torch.autocast(bare(model).device.type, torch.bfloat16, enabled=bf16):
        computed = _computed(model, encoder, pairs, layout, batch_size, progress)
    result = ReferenceLogps(tuple(computed), time.perf_counter() - begin)
    if process_rank() == 0:
        _write(path, result)
    return result


def content_key(
    model: Any, encoder: PairEncoder, pairs: Sequence[TokenPair], model_hash: str | None = None, bf16: bool = False
) -> str:
    """Hash of what determines the numbers, 16 hex digits."""
    images = encoder.encoder.processor.image_processor.to_dict()
    digest = hashlib.sha256((model_hash or weights_hash(bare(model))).encode())
    digest.update(encoder.encoder.chat_template.encode())
    digest.update(b"bf16" if bf16 else b"")
    digest.update(json.dumps(images, sort_keys=True, default=str).encode())
    for pair in pairs:
        content = [pair.prompt.text, pair.prompt.system, [image.sha256() for image in pair.prompt.images]]
        digest.update(json.dumps([*content, pair.chosen_ids, pair.rejected_ids]).encode())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _computed(
    model: Any,
    encoder: PairEncoder,
    pairs: Sequence[TokenPair],
    layout: Layout,
    batch_size: int,
    progress: Progress | None,
) -> list[PairLogps]:
    ordered = together([pair.prompt for pair in pairs])
    chunks = [ordered[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
    mine = _own_chunks(chunks, in_step=is_sharded(model))
    was_training = model.training
    model.eval()
    by_pair: dict[int, PairLogps] = {}
    reader = _Reader(model, encoder, layout)
    with measuring(model):
        for done, chunk in enumerate(mine, start=1):
            by_pair |= zip(chunk, reader.read_fitting([pairs[i] for i in chunk]), strict=True)
            if progress:
                progress("reference", min(done * batch_size, len(pairs)), len(mine) * batch_size)
    reshard(model)
    model.train(was_training)
    whole = _gathered(by_pair)
    return [whole[index] for index in range(len(pairs))]


def _own_chunks(chunks: list[list[int]], *, in_step: bool) -> list[list[int]]:
    """The chunks that this process reads; in step, every process reads as many: one that has fewer reads one again."""
    own = chunks[process_rank() :: process_count()]
    missing = -(-len(chunks) // process_count()) - len(own) if in_step else 0
    return own + chunks[:1] * missing


class _Reader:
    """Reads batches of pairs, those about one image in one row once that is known to change nothing."""

    def __init__(self, model: Any, encoder: PairEncoder, layout: Layout) -> None:
        self._model, self._encoder, self._layout = model, encoder, layout
        exact = bare(model).dtype is torch.float32 and not torch.is_autocast_enabled(bare(model).device.type)
        # None: not tried yet. Of sharded weights every process must read as many batches, so nothing is tried
        tries = layout is Layout.PACKED and exact and not is_sharded(model)
        self._shares: bool | None = None if tries else False

    def read_fitting(self, pairs: Sequence[TokenPair]) -> list[PairLogps]:
        """Each pair's log-probabilities, on the CPU; in halves where memory does not suffice for all at once.

        Raises:
            TrainingError: if it does not suffice for one, or the weights are sharded: the other processes would wait.
        """
        try:
            logps, mask = self.read(pairs)
            rows = [row[kept].float().cpu() for row, kept in zip(logps, mask, strict=True)]
            return [PairLogps(*both) for both in zip(rows[: len(pairs)], rows[len(pairs) :], strict=True)]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(pairs) == 1:
                raise TrainingError(f"out of memory with the reference of pair {pairs[0].id!r} alone") from error
            if is_sharded(self._model):
                smaller = f"set micro_batch_size below {len(pairs)}"
                raise TrainingError(f"out of memory with {len(pairs)} pairs in a forward pass: {smaller}") from error
        free_memory()
        half = len(pairs) // 2
        return [*self.read_fitting(pairs[:half]), *self.read_fitting(pairs[half:])]

    def read(self, pairs: Sequence[TokenPair]) -> tuple[Tensor, Tensor]:
        """As `response_logps`."""
        shared = self._encoder.by_image(pairs) if self._shares is not False else None
        if shared is None:
            return self._logps(self._encoder.batch(pairs, self._layout))
        logps, mask = self._logps(shared)
        if self._shares is None:
            plain, mask = self._logps(self._encoder.batch(pairs, self._layout))
            self._shares = agree(self._model, logps, plain)
            return plain, mask
        return logps, mask

    def _logps(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        return response_logps(self._model, move(batch, self._model.device), self._layout)


def _gathered(own: dict[int, PairLogps]) -> dict[int, PairLogps]:
    if process_count() == 1:
        return own
    shares: list[Any] = [None] * process_count()
    torch.distributed.all_gather_object(shares, own)
    return {index: logps for share in shares for index, logps in share.items()}


def _write(path: Path, logps: ReferenceLogps) -> None:
    rows = [row for pair in logps.pairs for row in (pair.chosen, pair.rejected)]
    content = {"logps": torch.cat(rows), "lengths": torch.tensor([len(row) for row in rows])}
    with replaced(path) as beside:
        save_file(content, beside, {"seconds": str(logps.seconds)})


def _read(path: Path, pairs: Sequence[TokenPair]) -> ReferenceLogps | None:
    """What was stored; None if it is absent or torn."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            flat, lengths = file.get_tensor("logps"), file.get_tensor("lengths").tolist()
            seconds = float(file.metadata()["seconds"])
    except (SafetensorError, OSError):
        return None  # written by a process that was killed on another file system; computed again
    expected = [length for pair in pairs for length in (len(pair.chosen_ids), len(pair.rejected_ids))]
    if lengths != expected:
        return None
    rows = list(flat.split(lengths))
    stored = (PairLogps(chosen, rejected) for chosen, rejected in zip(rows[::2], rows[1::2], strict=True))
    return ReferenceLogps(tuple(stored), seconds)
