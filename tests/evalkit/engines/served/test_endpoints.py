"""A key is written nowhere, in whatever form a server sends it back."""

import base64
import json
import pickle
from urllib.parse import quote

import pytest

from evalkit.engines.served.endpoints import Secret, secrets_in, without_secrets

KEY = 'gateway/"0123+456='


@pytest.mark.parametrize(
    "form", [KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1], base64.b64encode(KEY.encode()).decode().rstrip("=")]
)
def test_a_key_is_taken_out_in_every_form(form: str) -> None:
    secret = Secret(KEY)
    assert secret.redact(f"wrong key {form}!") == "wrong key <key>!"
    nested = {"error": [{"message": form, form: 1}]}
    assert secret.redact_json(nested) == {"error": [{"message": "<key>", "<key>": 1}]}


def test_what_looks_like_somebodys_key_is_taken_out_too() -> None:
    assert "abcdef" not in Secret("none").redact("Bearer abcdef0123456789 and sk-abcdef0123456789")


def test_passwords_and_queries_of_addresses_are_secrets() -> None:
    address = "https://me:hunter22@host/v1?key=0123456789"
    secret = Secret("none", secrets_in([address]))
    assert secret.redact(f"no reply from {address}") == "no reply from https://<key>@host/v1?key=<key>"
    assert without_secrets(address) == "https://host/v1"


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(KEY)
    assert KEY not in f"{secret} {secret!r}"
    assert KEY.encode() not in pickle.dumps(secret)
