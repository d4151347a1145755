"""Several servers with one model: who gets the next request, how many at once, and how long to wait after a fault.

Every server has a connection limit of its own that follows its 429 replies: halved by a refusal, raised by one
connection per round of successes (additive increase, multiplicative decrease). A server that fails is left alone for
a while and the request goes to another one.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MAX_BACKOFF_S = 60.0
COOL_DOWN_S = 2.0  # a server that failed is the last choice for so long, doubled with every failure in a row
MAX_COOL_DOWN_S = 60.0


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds asked for by a Retry-After header (seconds, or an HTTP date), None if there is none that can be read.

    Args:
        now: seconds since the epoch, for a date; the clock's by default.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def backoff(failures: int, base_s: float) -> float:
    """Seconds to wait after a number of failed attempts: doubling, with jitter between a half and the whole."""
    whole = min(MAX_BACKOFF_S, base_s * 2.0 ** min(failures - 1, 30))
    return whole * random.uniform(0.5, 1.0)


@dataclass(eq=False)
class Server:
    """One base URL and its state.

    limit   requests at once, between 1 and `most`; a fraction is progress towards the next whole connection
    active  requests under way
    """

    url: str
    most: int
    limit: float = 0.0
    active: int = 0
    failures_in_row: int = 0
    cooling_until: float = 0.0
    reduced_at: float = 0.0

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    @property
    def free(self) -> bool:
        """Whether one more request may start."""
        return self.active < int(self.limit)

    def succeeded(self) -> None:
        """A reply came: the limit grows by one connection per `limit` replies."""
        self.failures_in_row = 0
        self.cooling_until = 0.0
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def refused(self, started: float) -> None:
        """A 429 came for a request that started then: halve the limit, once for all requests in flight together."""
        if started >= self.reduced_at:
            self.limit = max(1.0, self.limit / 2.0)
            self.reduced_at = time.monotonic()

    def failed(self) -> None:
        """The server broke or could not be reached: it is the last choice for a while."""
        pause = min(MAX_COOL_DOWN_S, COOL_DOWN_S * 2.0 ** min(self.failures_in_row, 10))
        self.failures_in_row += 1
        self.cooling_until = time.monotonic() + pause


class Fleet:
    """The servers of one model. `take` and `give_back` belong to one event loop."""

    def __init__(self, urls: tuple[str, ...], connections: int) -> None:
        self.servers = [Server(url, connections) for url in urls]
        self._changed = asyncio.Condition()
        self._turn = 0

    @property
    def most(self) -> int:
        """Requests at once over all servers, at best."""
        return sum(server.most for server in self.servers)

    async def take(self, avoid: Server | None = None) -> Server:
        """Wait for a free connection; the server that just failed is taken only if there is no other."""
        async with self._changed:
            while (server := self._choose(avoid)) is None:
                await self._changed.wait()
            server.active += 1
            return server

    async def give_back(self, server: Server) -> None:
        """The request to this server is over."""
        async with self._changed:
            server.active -= 1
            self._changed.notify_all()

    def _choose(self, avoid: Server | None) -> Server | None:
        """The least busy free server; in turn among equals, those that are cooling down last."""
        now = time.monotonic()
        self._turn += 1
        count = len(self.servers)
        ring = [self.servers[(self._turn + step) % count] for step in range(count)]
        free = [server for server in ring if server.free]
        return min(
            free,
            key=lambda server: (server.cooling_until > now, server is avoid, server.active / server.limit),
            default=None,
        )
