"""Limits of what a server may send."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import pytest

from evalkit.engines.served.transport import LimitedTransport, RedirectedError, ReplyTooLargeError, httpx

LARGEST = 1 << 20


def gzip(data: bytes) -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    return press.compress(data) + press.flush()


def exchange(status: int = 200, content: bytes = b"{}", **headers: str) -> bytes:
    class Inner(httpx.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: object) -> object:
            async def pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(content), 4096):
                    yield content[start : start + 4096]

            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx.Response(status, headers=named, content=pieces())

    async def send() -> bytes:
        request = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")
        response = await LimitedTransport(Inner(), LARGEST).handle_async_request(request)
        return bytes(await response.aread())

    return asyncio.run(send())


@pytest.mark.parametrize("size", [2, LARGEST - 1, LARGEST])
@pytest.mark.parametrize("packed", [True, False])
def test_a_reply_within_the_limit_is_read(size: int, packed: bool) -> None:
    data = b"a" * size
    assert (exchange(content=gzip(data), content_encoding="gzip") if packed else exchange(content=data)) == data


@pytest.mark.parametrize("packed", [True, False])
def test_the_limit_counts_after_unpacking(packed: bool) -> None:
    data = bytes(LARGEST + 1)
    with pytest.raises(ReplyTooLargeError, match="larger than 1 MB"):
        exchange(content=gzip(data) if packed else data, **({"content_encoding": "gzip"} if packed else {}))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_the_place(status: int) -> None:
    with pytest.raises(RedirectedError, match=r"http://elsewhere\.example"):
        exchange(status, location="http://elsewhere.example/v1")


def test_a_packing_that_was_not_asked_for_is_an_error() -> None:
    with pytest.raises(ReplyTooLargeError, match="'br'"):
        exchange(content_encoding="br")
