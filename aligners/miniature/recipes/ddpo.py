"""Dense DPO on the miniature base: the base's own descriptions, corrected by the oracle of its world."""

from dataclasses import replace
from pathlib import Path

from aligners.ddpo import TrainingResult, dpo_settings, train_dpo
from aligners.miniature.recipes.corrections import CorrectionRecipe, build_corrections
from aligners.presets import DDPO_PAPER
from aligners.settings import DpoSettings
from evalkit.engines.transformers import TransformersEngine
from evalkit.process.progress import Progress

RECIPE = CorrectionRecipe()
# Chosen on base 0, on scenes of the validation split; a million parameters need a larger step than 7e9.
SETTINGS = dpo_settings(
    replace(DDPO_PAPER, name="ddpo-miniature"),
    gamma=5.0,
    beta=0.1,
    average=False,
    nll_weight=1.5,
    learning_rate=2e-4,
    lora_learning_rate=4e-3,
    batch_size=32,
    epochs=1,
    warmup_ratio=0.1,
    max_length=512,
    lora=False,
    log_steps=1,
    workers=1,
)


def align_miniature_ddpo(
    base: Path,
    out: Path,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    settings: DpoSettings = SETTINGS,
    recipe: CorrectionRecipe = RECIPE,
) -> TrainingResult:
    """Build corrected pairs (in out/training/pairs) and train; the same call continues or returns what is finished.

    Args:
        base: of `aligners.miniature.base.cached_base`.
        out: folder of the new checkpoint.
        seed: of scenes, sampling and training.
        progress: called with (stage, done, total).
        settings, recipe: other than the tuned ones.
    """
    folder = Path(out) / "training" / "pairs"
    engine = TransformersEngine(base, dtype="float32", batch_size=64)
    pairs = build_corrections(engine, folder, seed, recipe, progress)
    engine.close()
    return train_dpo(
        base,
        pairs,
        out,
        replace(settings, seed=seed),
        data={"source": f"corrections of the base's own descriptions, seed {seed}"},
        progress=progress,
    )
