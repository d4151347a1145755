"""System texts: read from the authors' file without running it, named where this project's wording stands in."""

import logging
from pathlib import Path

import jinja2
import pytest

from evalkit.engines.model.inputs.system_texts import (
    SCRIPT,
    hash_of,
    system_text,
    text_in,
    with_system_text,
    written_by,
)
from evalkit.errors import AssetError, UsageError
from evalkit.files.assets import find_asset

FILE = """
import dataclasses
raise RuntimeError("a script is parsed, not run")
conv_vicuna_v1 = Conversation(
    system="One text. "
    "In two pieces.",
    roles=("USER", "ASSISTANT"), version="v1",
)
conv_llava_v1 = Conversation(system="Another text.", version="v1")
"""
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'][0]['text'] + ' ' }}{% endfor %}"


def rendered(template: str, *roles: str) -> str:
    messages = [{"role": role, "content": [{"type": "text", "text": role.upper()}]} for role in roles]
    return jinja2.Template(template).render(messages=messages)


def test_a_text_is_read_from_the_authors_form_of_file(tmp_path: Path) -> None:
    (tmp_path / "conversation.py").write_text(FILE)
    assert text_in(tmp_path / "conversation.py", "vicuna_v1") == "One text. In two pieces."
    assert text_in(tmp_path / "conversation.py", "llava_v1") == "Another text."
    (tmp_path / "conversation.py").write_text("x = 1")
    with pytest.raises(AssetError, match="no conversation 'conv_vicuna_v1'"):
        text_in(tmp_path / "conversation.py", "vicuna_v1")


def test_the_authors_file_is_pinned() -> None:
    row = find_asset(SCRIPT)
    assert (row.size, row.sha256) == (15_022, "5afd26fa231082cb6fdc100c3887d663f72d8c99a93dcdd285dac303ca72e45c")
    assert "c121f0432da27facab705978f83c4ada465e46fd" in (row.url or "")


def test_own_wording_stands_in_offline_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EVALKIT_ASSETS", str(tmp_path))
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("EVALKIT_OFFLINE", "1")
    with caplog.at_level(logging.WARNING):
        found = system_text("vicuna_v1")
    assert found.name == "vicuna_v1 (this project's wording)"
    assert found == system_text("vicuna_v1:own")
    assert found.text != system_text("llava_v1").text
    with pytest.raises(AssetError, match=r"conversation\.py"):
        system_text("vicuna_v1:official")


def test_a_file_with_other_bytes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVALKIT_ASSETS", str(tmp_path))
    (tmp_path / "llava").mkdir()
    (tmp_path / SCRIPT).write_text(FILE)
    with pytest.raises(AssetError, match="not the official file"):
        system_text("vicuna_v1")


def test_other_texts_stand_for_themselves() -> None:
    assert system_text("none").text == ""
    assert (system_text("Be brief.").text, system_text("Be brief.").name) == ("Be brief.", "own text")
    with pytest.raises(UsageError):
        system_text(" ")


@pytest.mark.parametrize("text", ["Be brief.", 'It\'s "so": {{ x }} {% y %} \\n\nend'])
def test_a_template_with_a_system_text_writes_it_where_a_conversation_has_none(text: str) -> None:
    template = with_system_text(TEMPLATE, text)
    assert rendered(template, "user") == f"system: {text} user: USER "
    assert rendered(template, "system", "user") == rendered(TEMPLATE, "system", "user")
    assert with_system_text(template, "") == TEMPLATE
    assert with_system_text(with_system_text(TEMPLATE, "old"), text) == template


def test_what_a_template_writes_by_itself_is_found() -> None:
    def apply(template: str) -> str | None:
        return written_by(lambda messages: jinja2.Template(template).render(messages=messages))

    vicuna = "{% for m in messages %}{% if m['role'] == 'user' %}USER: {% endif %}{{ m['content'][0]['text'] + ' ' }}"
    vicuna += "{% endfor %}ASSISTANT:"
    assert apply(vicuna) == ""
    assert apply(with_system_text(vicuna, "Be brief.")) == "Be brief."
    assert apply("{{ raise_exception('no system') }}") is None
    assert (hash_of(""), len(hash_of("Be brief."))) == ("none", 8)
