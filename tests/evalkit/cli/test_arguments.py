"""--engine: the engines by name, and one's own as package.module:factory."""

import argparse
import sys
from types import ModuleType
from typing import Literal

import pytest

from evalkit.cli.engines import ENGINES, add_engine_arguments, open_engine
from evalkit.errors import UsageError


class Made:
    """What the factory below was called with."""

    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments

    def describe(self) -> None: ...

    generate = stop = close = describe


def own_engine(
    model: str, reference: str, *, n: int = 4, form: Literal["mean", "sum"] = "mean", batch_size: int = 8
) -> Made:
    return Made(model=model, reference=reference, n=n, form=form, batch_size=batch_size)


@pytest.fixture(autouse=True)
def own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("own_engines")
    module.make, module.no_model = own_engine, lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_engines", module)


def options(words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_engine_arguments(parser)
    return parser.parse_args(["--model", "M", *words.split()])


def test_a_factory_gets_the_model_the_flags_and_its_own_arguments() -> None:
    engine = open_engine(options("--engine own_engines:make --engine-args reference=B,n=2,form=sum --batch-size 3"))
    assert engine.arguments == {"model": "M", "reference": "B", "n": 2, "form": "sum", "batch_size": 3}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("own_engines:absent", "'own_engines:absent' cannot be used"),
        ("absent_module:make", "No module named 'absent_module'"),
        (":make", "cannot be used"),
        ("own_engines:no_model", "too many positional arguments"),
        ("json:dumps", "made a str, which is not an engine"),
        ("own_engines:make", "needs --engine-args reference=..."),
        (
            "own_engines:make --engine-args reference=B,colour=red",
            "unknown colour; own_engine takes reference",
        ),
        ("own_engines:make --engine-args reference=B,n=many", "n=many: expected int"),
        ("own_engines:make --engine-args reference=B,form=max", "form=max: expected mean or sum"),
        ("own_engines:make --engine-args reference=B --dtype float32", "--dtype: not for the engine own_engines:make"),
        ("own_engines:make --engine-args reference=B,batch_size=4", "unknown batch_size"),
    ],
)
def test_what_a_factory_cannot_take_is_named(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        open_engine(options(f"--engine {words}"))


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--engine magic")
    told = capsys.readouterr().err
    assert "invalid choice: 'magic'" in told
    assert all(name in told for name in ENGINES)
