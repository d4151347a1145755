"""`--protocol` sets what a published row was made with; folders of papers go through run, convert and align."""

import json
from pathlib import Path
from typing import Any

import pytest
from original_llava import make_lora, make_original, make_tower, tiny_vocabulary
from transformers import AutoModelForImageTextToText

from benchmarks.protocols import DECODING, ENGINE, protocols
from evalkit.__main__ import main
from evalkit.engines.model.inputs.settings import InputSettings
from evalkit.engines.transformers import TransformersEngine
from evalkit.miniature.files import write_world
from evalkit.sampling import Sampling

SHORT = ["--limit", "4", "--max-new-tokens", "4", "--batch-size", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature world, a tower and a RLAIF-V-shaped folder (tower inside, not trained)."""
    folder = tmp_path_factory.mktemp("place")
    write_world(folder / "world", 6, seed=0)
    tower = make_tower(folder / "clip")
    vocabulary = tiny_vocabulary(folder / "words" / "tokenizer.model")
    make_original(folder / "rlaif-v", tower, vocabulary, tower_inside=True, model_type="llava_llama")
    base = make_original(folder / "llava-rlhf" / "sft_model", tower, vocabulary, mm_projector_type=None)
    make_lora(folder / "llava-rlhf" / "rlhf_lora_adapter_model", base, projector=False)
    return folder


def run(place: Path, model: str, *words: str) -> dict[str, Any]:
    """Run POPE on the miniature world; the manifest."""
    label = f"{model}-{abs(hash(words))}".replace("/", "-")
    command = ["run", "--model", str(place / model), "--tasks", "pope", "--world", str(place / "world"), *SHORT]
    assert main([*command, *words, "--label", label, "--output-path", str(place / "runs")]) in (0, 2)
    manifest: dict[str, Any] = json.loads((place / "runs" / label / "pope" / "run.json").read_text())
    return manifest | {"folder": place / "runs" / label / "pope"}


@pytest.mark.parametrize("name", protocols())
def test_every_protocol_is_made_of_settings_that_exist(name: str) -> None:
    found = protocols()[name]
    assert set(found.settings) <= {*ENGINE, *DECODING}
    for task, own in found.tasks.items():
        assert set(own) <= {*DECODING, "set"}
        Sampling(**found.decoding(task))
    Sampling(**found.decoding("chair"))
    InputSettings(found.settings.get("image_padding"), found.settings.get("system_text"))
    assert found.source
    assert name in found.told(["pope"])


@pytest.mark.parametrize(("model", "protocol"), [("rlaif-v", "rlaif-v"), ("llava-rlhf", "llava-rlhf")])
def test_a_folder_of_a_paper_runs_under_its_protocol(
    model: str, protocol: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = run(place, model, "--protocol", protocol)
    assert f"protocol {protocol}" in capsys.readouterr().err
    assert manifest["model"]["image_padding"] == "pad"
    assert manifest["model"]["system_text_name"].startswith("llava_v1")
    assert manifest["sampling"]["num_beams"] == (3 if protocol == "rlaif-v" else 1)
    assert manifest["sampling"]["max_new_tokens"] == 4  # the option comes before the protocol
    assert manifest["model"]["dtype"] == ("bfloat16" if protocol == "llava-rlhf" else "float32")
    signature = manifest["signature"]["short"] if isinstance(manifest["signature"], dict) else manifest["signature"]
    assert "|padding:pad|" in str(signature)


def test_a_folder_converted_answers_the_same_and_compares_without_force(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "converted"
    assert main(["convert", str(place / "rlaif-v"), "--output-path", str(out)]) == 0
    _, report = AutoModelForImageTextToText.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    original, converted = run(place, "rlaif-v"), run(place, "converted")
    rows = [
        [(row["item_id"] if "item_id" in row else row.get("id"), row["text"]) for row in map(json.loads, lines)]
        for lines in ((found["folder"] / "responses.jsonl").read_text().splitlines() for found in (original, converted))
    ]
    assert sorted(rows[0]) == sorted(rows[1])
    assert main(["compare", str(original["folder"]), str(converted["folder"])]) == 0
    capsys.readouterr()
    bare = run(place, "rlaif-v", "--engine-args", "system_text=none", "--engine-args", "image_padding=crop")
    assert main(["compare", str(original["folder"]), str(bare["folder"])]) != 0
    told = capsys.readouterr().err
    assert "image padding, crop or pad" in told
    assert "system text" in told


def test_a_converted_folder_must_be_new(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["convert", str(place / "rlaif-v"), "--output-path", str(tmp_path)]) == 3
    assert "holds something already" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["rlaif-v", "llava-rlhf"])
@pytest.mark.parametrize("lora", ["true", "false"])
def test_a_folder_of_a_paper_is_aligned_and_answers(model: str, lora: str, place: Path, tmp_path: Path) -> None:
    image = next((place / "world" / "images").iterdir())
    rows = [
        {"id": str(i), "image": str(image), "prompt": "What is it?", "chosen": f"A dog {i}.", "rejected": "A <image>."}
        for i in range(4)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["align", "ddpo", "--model", str(place / model), "--data", str(tmp_path / "pairs.jsonl")]
    sets = ["--set", f"lora={lora}", "--set", "max_steps=2", "--set", "batch_size=2"]
    assert main([*command, "--output-path", str(tmp_path / "out"), *sets]) == 0
    engine, start = TransformersEngine(tmp_path / "out"), TransformersEngine(place / model)
    signed = ("image_padding", "system_text")
    assert [engine.describe()[name] for name in signed] == [start.describe()[name] for name in signed]
    assert engine.describe()["content"] != start.describe()["content"]
    assert engine.describe().get("layers") == (start.describe().get("layers") if lora == "true" else None)


def test_an_engine_that_cannot_be_told_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--model", "m", "--engine", "openai", "--base-url", "http://127.0.0.1:9", "--tasks", "pope"]
    assert main([*command, "--world", str(place / "world"), "--protocol", "rlaif-v"]) == 1
    assert "leaves to the server" in capsys.readouterr().err
