"""Where an OpenAI-compatible server is and with which key; a key is never written anywhere.

Environment, in this order: <PREFIX>_BASE_URL, <PREFIX>_API_BASE, <PREFIX>_API_URL (the last two as older tools spell
them, some with the full address that ends in /chat/completions), and <PREFIX>_API_KEY. The prefix is OPENAI, or
JUDGE for a judge of its own. Several addresses, separated by commas, are a fleet with one model.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from evalkit.errors import UsageError

VENDOR_URL = "https://api.openai.com/v1"
NO_KEY = "none"  # sent to servers that ask for no key
SHORTEST_SECRET = 6  # characters; shorter ones are words like "none" and versions
ADDRESS_VARIABLES = ("BASE_URL", "API_BASE", "API_URL")


class Secret:
    """An API key that does not show itself in a repr, a format, a pickle or a traceback.

    Args:
        value: the key.
        others: what else must not be written down: passwords and queries of addresses.
    """

    __slots__ = ("_others", "_value")

    def __init__(self, value: str, others: Iterable[str] = ()) -> None:
        self._value = value
        self._others = tuple(others)

    def reveal(self) -> str:
        """The key itself, for the client alone."""
        return self._value

    def and_those_of(self, fields: Any) -> "Secret":
        """This key and the texts that stand under the name of a secret in a JSON value."""
        return Secret(self._value, (*self._others, *_secrets_below(fields)))

    def redact(self, text: str) -> str:
        """The text without the key, should a server have echoed it, in whatever form."""
        for secret in (self._value, *self._others):
            if len(secret) > SHORTEST_SECRET:
                for form in _forms(secret):
                    text = text.replace(form, "<key>")
        return re.sub(r"\b(sk|hf|Bearer)([-_ ])[A-Za-z0-9_\-.*]{12,}", r"\1\2<key>", text)

    def redact_json(self, value: Any) -> Any:
        """`redact` of every text in a JSON value, keys of objects included."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {self.redact(str(name)): self.redact_json(part) for name, part in value.items()}
        return [self.redact_json(part) for part in value] if isinstance(value, list) else value

    def __repr__(self) -> str:
        return "<key>"

    def __reduce__(self) -> tuple[type["Secret"], tuple[str]]:
        return Secret, ("<key>",)


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it is, quoted for an address, in a JSON text and in base64; the longest first."""
    packed = base64.b64encode(secret.encode()).decode().rstrip("=")
    forms = (secret, quote(secret, safe=""), json.dumps(secret)[1:-1], packed)
    return tuple(sorted(dict.fromkeys(forms), key=len, reverse=True))


_SECRET_NAMES = re.compile(
    r"(api|access|secret)[_-]?key|secret|password|authorization|(access|auth)[_-]?token|bearer", re.I
)


def _secrets_below(value: Any, named: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _secrets_below(part, named or bool(_SECRET_NAMES.search(str(name))))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _secrets_below(part, named)
    elif named and isinstance(value, str):
        yield value


def normalise_url(address: str) -> str:
    """A base URL: without a trailing slash or /chat/completions; a query (?api-version=...) stays at its end.

    Raises:
        UsageError: if it is not an http(s) address.
    """
    try:
        parts = urlsplit(address.strip())
        path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
        address = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, a torn IPv6 address
        usable = False
    if not usable:
        raise UsageError(f"expected an address like http://localhost:8000/v1, got {without_secrets(address)!r}")
    return address


def split_query(address: str) -> tuple[str, dict[str, str]]:
    """A base URL without its query, and the query's fields, which go with every request.

    >>> split_query("https://host/v1?api-version=7")
    ('https://host/v1', {'api-version': '7'})
    """
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), dict(parse_qsl(parts.query, True))


def secrets_in(addresses: Iterable[str]) -> tuple[str, ...]:
    """Passwords and values of queries: gateways take keys there."""
    secrets: list[str] = []
    for address in addresses:
        parts = urlsplit(address)
        secrets += [text for text in (parts.netloc.rpartition("@")[0], parts.password) if text]
        secrets += [value for _, value in parse_qsl(parts.query)]
    return tuple(dict.fromkeys(secrets))


def without_secrets(address: str) -> str:
    """An address fit to be written down: no user, password or query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address.rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def base_urls(
    given: str | Iterable[str] | None, prefix: str = "OPENAI", environment: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """Base URLs from the argument, else from the environment, else the vendor's.

    Args:
        given: one address, several separated by commas, or a list.
        prefix: of the environment variables; those of OPENAI are the fallback.
    Raises:
        UsageError: if an address cannot be read.
    """
    if given is None:
        names = [f"{name}_{variable}" for name in _prefixes(prefix) for variable in ADDRESS_VARIABLES]
        given = next((environment[name] for name in names if environment.get(name)), VENDOR_URL)
    addresses = given.split(",") if isinstance(given, str) else list(given)
    return tuple(dict.fromkeys(normalise_url(address) for address in addresses if address.strip()))


def api_key(
    given: str | None, urls: Iterable[str], prefix: str = "OPENAI", environment: Mapping[str, str] = os.environ
) -> Secret:
    """The key from the argument, else from the environment; servers of one's own need none.

    The key of OPENAI is not sent to an address that the environment gives for another prefix alone.

    Raises:
        UsageError: if the vendor's server is to be asked and there is no key.
    """
    own_address = any(environment.get(f"{prefix}_{variable}") for variable in ADDRESS_VARIABLES)
    names = [f"{name}_API_KEY" for name in ((prefix,) if own_address else _prefixes(prefix))]
    key = given or next((environment[name] for name in names if environment.get(name)), None)
    if key is None and VENDOR_URL in urls:
        raise UsageError(f"{VENDOR_URL} needs a key: set {names[0]}, or give the address of another server")
    return Secret((key or NO_KEY).strip(), secrets_in(urls))


def _prefixes(prefix: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((prefix, "OPENAI")))
