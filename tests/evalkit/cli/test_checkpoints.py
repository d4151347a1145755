"""`evalkit doctor --checkpoint`, and the tables of docs/checkpoints.md."""

import json
from pathlib import Path

import pytest
from checkpoints import DOCS, filled, told_families
from original_llava import flat_config, write_json
from tiny_families import FURTHER_FAMILIES
from tiny_models import FAMILIES as TINY

from evalkit.__main__ import main
from evalkit.cli.checkpoints import published_table


def test_the_tables_in_docs_are_what_the_code_says() -> None:
    text = DOCS.read_text("utf-8")
    assert filled(text, published=published_table()) == text, "write them again: python -m tests.checkpoints"


def test_every_family_that_is_tested_stands_in_the_table() -> None:
    assert set(told_families(DOCS.read_text("utf-8"))) == {*FURTHER_FAMILIES, *TINY}


@pytest.mark.parametrize(("changes", "code", "told"), [
    ({}, 0, "yes, as original LLaVA"),
    ({"mm_projector_type": "linear"}, 0, "no: its projector is one linear layer"),
    ({"mm_vision_tower": "google/siglip-so400m-patch14-384"}, 3, "no CLIP"),
    ({"architectures": ["LlavaMptForCausalLM"]}, 3, "LlavaMptForCausalLM"),
])  # fmt: skip
def test_doctor_tells_from_the_configuration_alone(
    changes: dict[str, object], code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "config.json", flat_config("openai/clip-vit-large-patch14-336", 32000, **changes))
    assert main(["doctor", "--checkpoint", str(tmp_path)]) == code
    assert told in capsys.readouterr().out


def test_doctor_says_what_an_adapter_lies_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/home/a/vicuna"}))
    assert main(["doctor", "--checkpoint", str(tmp_path)]) == 3
    assert "/home/a/vicuna, which is not here: name it with the engine argument base=FOLDER" in capsys.readouterr().out


def test_doctor_names_the_server_for_code_of_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "config.json", {"model_type": "minicpmv", "auto_map": {"AutoConfig": "x.Y"}})
    assert main(["doctor", "--checkpoint", str(tmp_path)]) == 3
    assert "vllm serve" in capsys.readouterr().out
