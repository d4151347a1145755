"""HTTP to a served model, with the limits that a server of somebody else's asks for.

* A reply has a size limit, counted after unpacking, and is unpacked piece by piece: a compressed bomb of 0.4 MB costs
  its limit and not its 400 MB.
* Redirects are not followed: whoever answers elsewhere would get the prompts and photographs, and what it answers would
  count as the model's word.
"""

import zlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

httpx: Any
try:  # the client library's own HTTP package: httpx2 since its version 3
    httpx = import_module("httpx2")
except ImportError:
    httpx = import_module("httpx")

LARGEST_REPLY = 16 << 20  # bytes, unpacked: 2,000 times a long answer with log-probabilities
_PIECE = 1 << 16
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}  # zlib's wbits; 47 tells zlib's header from gzip's by itself


class ReplyTooLargeError(ValueError):
    """A reply beyond the limit."""


class RedirectedError(ValueError):
    """A server that sends its client elsewhere."""


def root_cause(error: BaseException) -> BaseException:
    """What an error of the client comes from in the end."""
    seen: set[int] = set()
    while id(error) not in seen and (below := error.__cause__ or error.__context__) is not None:
        seen.add(id(error))
        if isinstance(error, ReplyTooLargeError | RedirectedError):
            break
        error = below
    return error


class LimitedTransport(httpx.AsyncBaseTransport):  # type: ignore[misc]
    """A transport whose responses are read within `largest` bytes and are no redirects."""

    def __init__(self, inner: Any, largest: int = LARGEST_REPLY) -> None:
        self._inner, self._largest = inner, largest

    async def handle_async_request(self, request: Any) -> Any:
        """One exchange.

        Raises:
            ReplyTooLargeError: if the reply is larger than the limit, or packed in an unknown way.
            RedirectedError: if it is a redirect.
        """
        request.headers["Accept-Encoding"] = "gzip, deflate"
        response = await self._inner.handle_async_request(request)
        try:
            if 300 <= response.status_code < 400 and "location" in response.headers:
                target = httpx.URL(response.headers["location"])
                place = f"{target.scheme}://{target.host}" if target.host else "another path"
                raise RedirectedError(f"redirected to {place} (HTTP {response.status_code}); give the address itself")
            packed = response.headers.get("content-encoding", "identity").strip().lower()
            content = await _within(response.stream, packed, self._largest)
        finally:
            await response.aclose()
        kept = [
            (name, value)
            for name, value in response.headers.raw
            if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
        ]
        return httpx.Response(
            response.status_code, headers=kept, content=content, request=request, extensions=_plain(response.extensions)
        )

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def _plain(extensions: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extensions.items() if name in ("http_version", "reason_phrase")}


async def _within(stream: AsyncIterator[bytes], packed: str, largest: int) -> bytes:
    """The unpacked content of a stream."""
    if packed in ("", "identity"):
        unpack = None
    elif packed in _WINDOWS:
        unpack = zlib.decompressobj(_WINDOWS[packed])
    else:
        raise ReplyTooLargeError(f"the reply is packed as {packed[:40]!r}, which was not asked for")
    content = bytearray()
    async for piece in stream:
        if unpack is None:
            content += piece
        else:
            _unpack(unpack, piece, content, largest)
        if len(content) > largest:
            raise ReplyTooLargeError(f"the reply is larger than {largest >> 20} MB")
    return bytes(content)


def _unpack(unpack: Any, piece: bytes, content: bytearray, largest: int) -> None:
    try:
        while piece and len(content) <= largest:
            content += unpack.decompress(piece, _PIECE)
            piece = unpack.unconsumed_tail
    except zlib.error as error:
        raise ReplyTooLargeError(f"the reply cannot be unpacked: {error}") from error


def http_client(timeout_s: float, connections: int) -> Any:
    """An asynchronous client without redirects, with the limits above; proxies of the environment are used."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    client = httpx.AsyncClient(timeout=timeout_s, limits=limits, follow_redirects=False)
    client._transport = LimitedTransport(client._transport)
    client._mounts = {
        pattern: None if inner is None else LimitedTransport(inner) for pattern, inner in client._mounts.items()
    }
    return client
