"""Decoding settings: what stands in a manifest, what is refused."""

import pytest

from evalkit.errors import UsageError
from evalkit.sampling import Sampling


def test_later_settings_stand_in_a_manifest_only_where_they_are_in_use() -> None:
    assert "top_k" not in Sampling().as_dict()
    assert Sampling(temperature=0.6, top_k=30, repetition_penalty=1.1).as_dict()["top_k"] == 30
    assert Sampling(**Sampling(repetition_penalty=1.1).as_dict()) == Sampling(repetition_penalty=1.1)


@pytest.mark.parametrize("wrong", [{"top_k": -1}, {"repetition_penalty": 0.0}, {"top_k": 5}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Sampling(**wrong)  # type: ignore[arg-type]
