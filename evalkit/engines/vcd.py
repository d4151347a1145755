"""Visual contrastive decoding: what the image says against what is said without seeing it (Leng et al. 2023).

arXiv:2311.16922. Every prompt is decoded beside a twin whose image is noised. The next token is chosen from

    (1 + alpha) logits(image) - alpha logits(noised image),   among tokens with p(image) >= beta max p(image)

so that what the language prior prefers without looking loses, and what the image makes implausible cannot win. A
decode-time method for a comparison, like best of N (`aligners.best_of_n`):

    evalkit run --engine evalkit.engines.vcd:vcd --model M --engine-args alpha=1,beta=0.1 --temperature 1 ...

Constants  alpha 1, beta 0.1, noise step 500 of 1,000: DAMO-NLP-SG/VCD, object_hallucination_vqa_llava.py @65a8fd7,
           sampled there at temperature 1; here the benchmark's own decoding (mostly greedy) holds unless one is given
Noise      sqrt(a) x + sqrt(1 - a) e on the normalised image, a the product of 1 - b_t with b a sigmoid from 1e-5 to
           5e-3: vcd_add_noise.py @039af55. One draw per prompt and image, from the run's seed, whatever the batch
Differs    the twin keeps a cache of its own over all tokens. In vcd_sample.py @039af55 every step begins with a copy of
           the clean model's arguments, cache included, so that the noised image acts on the first token only
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from evalkit.engines.model.prefixes.sharing import Rows
from evalkit.engines.model.token_rows import Encoded
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError, UsageError
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt

STEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class VCD:
    """How strongly, and against what.

    alpha       weight of the contrast; 0 is ordinary decoding among plausible tokens
    beta        plausibility: tokens below this share of the most likely one's probability are out
    noise_step  0 (the image, almost) to 999 (noise)
    """

    alpha: float = 1.0
    beta: float = 0.1
    noise_step: int = 500

    def __post_init__(self) -> None:
        if self.alpha < 0 or not 0 < self.beta <= 1 or not 0 <= self.noise_step < STEPS:
            raise UsageError(
                "vcd: alpha must be >= 0, beta in (0, 1] and noise_step from 0 to "
                f"{STEPS - 1}; got {self.alpha}, {self.beta}, {self.noise_step}"
            )


class VCDEngine(TransformersEngine):
    """`TransformersEngine` whose responses are decoded by contrast; probabilities are the model's own.

    Raises:
        EngineError: on generating, for a family that does not give one tensor of fixed size per image.
    """

    settings: VCD = VCD()
    share_prefixes = False

    def describe(self) -> Mapping[str, Json]:
        """The engine's description with the contrast under "vcd"."""
        return {**super().describe(), "vcd": asdict(self.settings)}

    def _decode(
        self, encoded: Encoded | Rows, jobs: Sequence[tuple[Prompt, int]], sampling: Sampling
    ) -> list[list[int]]:
        """As in ordinary decoding, with a twin of every row behind the rows themselves."""
        if sampling.num_beams > 1:
            raise UsageError("vcd contrasts one sequence with its twin: it does not go with beam search")
        assert isinstance(encoded, Encoded)  # prefixes are not shared: every row has a twin
        samples = len(jobs) // len(encoded.starts)
        prompts = [prompt for prompt, _ in jobs[::samples]]
        twins = with_noised_twins(encoded, prompts, sampling, self.settings.noise_step)
        seeds = [sampling.seed_for(prompt.id, sample) for prompt, sample in jobs] if sampling.temperature > 0 else []
        contrast = Contrast(self.settings, self.encoder.placeholder_ids)
        return self._decode_whole(twins, 2 * len(jobs), [*seeds, *seeds], sampling, [contrast])[: len(jobs)]


class Contrast:
    """Logits processor: the first half of the rows against the second; both halves get the result.

    Args:
        settings: strength and plausibility.
        suppressed: ids that are never written, and set no standard of plausibility.
    """

    def __init__(self, settings: VCD, suppressed: Sequence[int]) -> None:
        self.settings = settings
        self.suppressed = torch.tensor(list(suppressed), dtype=torch.long)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (2 B, V) -> scores (2 B, V)."""
        image, noise = scores.chunk(2)
        if len(self.suppressed):
            image = image.index_fill(1, self.suppressed.to(image.device), float("-inf"))
        contrasted = contrast(image, noise, self.settings)
        return torch.cat([contrasted, contrasted])


def contrast(image: Tensor, noise: Tensor, settings: VCD) -> Tensor:
    """(1 + alpha) image - alpha noise, -inf for implausible tokens; logits (B, V) each.

    >>> image, noise = torch.tensor([[2.0, 1.0, -9.0]]), torch.tensor([[2.0, 0.0, -99.0]])
    >>> contrast(image, noise, VCD()).tolist()
    [[2.0, 2.0, -inf]]
    """
    lowest = image.max(dim=-1, keepdim=True).values + torch.log(torch.tensor(settings.beta))
    mixed = (1 + settings.alpha) * image - settings.alpha * noise
    return mixed.masked_fill(image < lowest, float("-inf"))


def with_noised_twins(encoded: Encoded, prompts: Sequence[Prompt], sampling: Sampling, step: int) -> Encoded:
    """A batch with every row once more behind it, the images of the second half noised.

    Raises:
        EngineError: if the images are not one tensor (images, channels, height, width).
    """
    rows = len(encoded.starts)
    inputs = {}
    for name, value in encoded.inputs.items():
        if name == "pixel_values":
            inputs[name] = torch.cat([value, noised(value, prompts, sampling, step)])
        elif isinstance(value, Tensor) and value.shape[0] == rows:
            inputs[name] = torch.cat([value, value])
        else:
            raise EngineError(f"vcd: the input {name!r} of this model family is not one row per prompt")
    return replace(encoded, inputs=inputs, begins=encoded.begins * 2, starts=encoded.starts * 2, ends=encoded.ends * 2)


def noised(pixels: Tensor, prompts: Sequence[Prompt], sampling: Sampling, step: int) -> Tensor:
    """Normalised images (images, channels, height, width) after `step` of 1,000 steps of diffusion noise.

    Raises:
        EngineError: for another shape.
    """
    keys = [f"{prompt.id}\x00noise of image {index}" for prompt in prompts for index in range(len(prompt.images))]
    if pixels.dim() != 4 or len(pixels) != len(keys):
        raise EngineError(
            f"vcd: expected {len(keys)} images as one tensor (images, channels, height, width), as LLaVA-1.5 has them; "
            f"this model family gives {tuple(pixels.shape)}"
        )
    kept = signal_share(step)
    rows = []
    for key, image in zip(keys, pixels, strict=True):
        generator = torch.Generator().manual_seed(sampling.seed_for(key, 0))
        noise = torch.randn(image.shape, generator=generator, dtype=torch.float32)
        rows.append(kept**0.5 * image.float() + (1 - kept) ** 0.5 * noise.to(image.device))
    return torch.stack(rows).to(pixels.dtype)


def signal_share(step: int) -> float:
    """The product of 1 - b_t up to a step: what is left of the variance of the image.

    >>> round(signal_share(0), 4), round(signal_share(500), 3), round(signal_share(999), 3)
    (1.0, 0.745, 0.081)
    """
    rates = torch.linspace(-6, 6, STEPS, dtype=torch.float64).sigmoid() * (5e-3 - 1e-5) + 1e-5
    return float(torch.prod(1 - rates[: step + 1]))


def vcd(
    model: str | Path,
    *,
    alpha: float = 1.0,
    beta: float = 0.1,
    noise_step: int = 500,
    batch_size: int = 8,
    dtype: str = "auto",
    device: str | None = None,
    revision: str | None = None,
    adapter: Path | None = None,
) -> VCDEngine:
    """Visual contrastive decoding on transformers.

    Args:
        model: checkpoint folder or hub id.
        alpha, beta, noise_step: see `VCD`.
        batch_size: sequences decoded at once, each with its twin.
        dtype, device, revision, adapter: of `TransformersEngine`.
    Raises:
        EngineError: if the checkpoint cannot be loaded.
        UsageError: if a setting is out of range.
    """
    settings = VCD(alpha=alpha, beta=beta, noise_step=noise_step)
    engine = VCDEngine(model, batch_size=batch_size, dtype=dtype, device=device, revision=revision, adapter=adapter)
    engine.settings = settings
    return engine
