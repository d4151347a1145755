"""The study that a server shows, and who is looking."""

from dashboard.reading.cache import cached_on
from dashboard.reading.shown import Shown
from evalkit.annotation.study import GOLD, ITEMS, STUDY, TOKENS, Study, read_study


def open_study() -> Study | None:
    """The study of this server, read again when its files change; None where runs are only looked at.

    Raises:
        RecordError: if it is damaged.
    """
    folder = Shown.from_environment().study
    if folder is None:
        return None
    files = [folder / name for name in (STUDY, ITEMS, TOKENS, GOLD) if (folder / name).exists()]
    return cached_on(files, "study", lambda: read_study(folder))
