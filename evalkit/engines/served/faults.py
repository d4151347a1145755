"""Why an attempt at a server failed, and whether another may help."""

from dataclasses import dataclass

from evalkit.engines.served.chat import Reply

EMPTY_ATTEMPTS = 3  # a deterministic server would return nothing for ever
SPENT_CODES = frozenset(
    {
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),
        *("insufficient_balance", "insufficient_credits", "credit_balance_too_low"),
    }
)  # of an error: no further request will be answered until somebody pays


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an attempt failed: `again` says whether another may help, `wait_s` what the server asked for.

    sent     whether the request reached a server
    adapted  the request is written otherwise from now on; trying it so uses up none of the attempts
    """

    error: str
    again: bool
    wait_s: float = 0.0
    unreachable: bool = False
    raw: str | None = None
    sent: bool = True
    adapted: bool = False


def empty_content(reply: Reply, attempt: int) -> Fault:
    """What a reply without text means at the given attempt, counted from 1."""
    if reply.finish == "content_filter":
        return Fault("refused by the server's content filter", again=False)
    if reply.finish is not None and "length" in reply.finish.lower():
        return Fault(f"no text within the limit of tokens (finish: {reply.finish}): raise the limit", again=False)
    return Fault(f"empty content (finish: {reply.finish})", again=attempt < EMPTY_ATTEMPTS)


def shortened(text: str) -> str:
    """A server's words on one line, at most 200 characters of them."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:200] + " ..."
