"""An original LLaVA folder in vLLM writes what the transformers engine writes, which is the original's text."""

from pathlib import Path

import original_llava
import pytest
from original_llava import make_original, make_tower, tiny_vocabulary

from evalkit.engines.transformers import TransformersEngine
from evalkit.engines.vllm import VLLMEngine
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

GREEDY = Sampling(max_new_tokens=8)
SETTINGS = {"enforce_eager": True, "max_model_len": 512, "max_num_seqs": 16}


def test_an_original_folder_writes_the_same_in_vllm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: list[Prompt]
) -> None:
    monkeypatch.setattr(original_llava, "HIDDEN", 128)  # attention heads of 32, the smallest for vLLM's CPU kernels
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    vocabulary = tiny_vocabulary(tmp_path / "words" / "tokenizer.model")
    folder = make_original(tmp_path / "model", make_tower(tmp_path / "clip"), vocabulary, tower_inside=True)
    expected = {r.prompt_id: r.token_ids for r in TransformersEngine(folder).generate(prompts[:12], GREEDY)}
    engine = VLLMEngine(folder, **SETTINGS)
    found = {r.prompt_id: r.token_ids for r in engine.generate(prompts[:12], GREEDY)}
    engine.close()
    assert found == expected
