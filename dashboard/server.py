"""The process that serves the app: Streamlit, which talks to nobody and ends when whoever started it does.

Run as a file (`python -P dashboard/server.py run app.py ...`), with the words of the `streamlit` command.
"""

import os
import signal
import threading

ENDS_WITH_STDIN = "HALLU_EVALKIT_ENDS_WITH_STDIN"  # set: standard input is a pipe from the parent, and its end is ours


def keep_silent() -> None:
    """Take out Streamlit's question for this machine's public address, asked of a server on the internet.

    It asks when a page of another origin knocks. The answer would only let in pages of that address; those that people
    open are named in the settings.
    """
    from streamlit import net_util

    net_util.get_external_ip = _no_address


def _no_address() -> None:
    return None


def end_with_parent() -> None:
    """End when standard input does: the parent holds its other end, and a killed parent lets go of it too."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


def main() -> None:
    """Serve."""
    from streamlit.web.cli import main as streamlit

    if os.environ.pop(ENDS_WITH_STDIN, None):
        end_with_parent()
    keep_silent()
    streamlit(prog_name="streamlit")


if __name__ == "__main__":
    main()
