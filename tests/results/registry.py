"""The entries, in the order of the page."""

from collections.abc import Mapping

from tests.results.adapters import ADAPTERS
from tests.results.bases import BASES
from tests.results.builders import BUILDERS
from tests.results.corrections import AMOUNT, DENSE
from tests.results.entry import Entry
from tests.results.hacking import HACKING
from tests.results.labels import ITERATIVE, NOISE, RELEASED
from tests.results.methods import METHODS
from tests.results.neighbours import NEIGHBOURS
from tests.results.online import GRPO
from tests.results.reading import FACTS

ENTRIES: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        BASES,
        METHODS,
        DENSE,
        AMOUNT,
        RELEASED,
        ITERATIVE,
        NOISE,
        BUILDERS,
        FACTS,
        HACKING,
        NEIGHBOURS,
        ADAPTERS,
        GRPO,
    )
}
