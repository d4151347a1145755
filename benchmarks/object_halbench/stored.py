"""Object words that the authors' script has already found: rows of its review file hall_<answers>_<n>.json.

A row of its "sentences" holds no reply of the extractor any more, but what the script made of it:
"mscoco_generated_words", [[word, category], ...]. The words are taken as they are, without an analysis of phrases.
"""

import json
from collections.abc import Mapping

from benchmarks.object_halbench.replies import UnreadableReplyError

FIELD = "mscoco_generated_words"


def stored_words(reply: str, categories: Mapping[str, str]) -> list[str] | None:
    """The words of a stored row; None if the text is a reply of an extractor.

    >>> stored_words('{"mscoco_generated_words": [["man", "person"]]}', {"man": "person"})
    ['man']

    Args:
        categories: word -> category, the synonym table that is scored with.
    Raises:
        UnreadableReplyError: if the row was made with a table that has another category for one of the words.
    """
    if not reply.startswith('{"' + FIELD + '":'):
        return None
    words = []
    for word, category in json.loads(reply)[FIELD]:
        if categories.get(word) != category:
            raise UnreadableReplyError(
                f"the stored word {word!r} is of category {category!r}, but {categories.get(word, 'none')!r} in this "
                "synonym table; score with the table that the file was made with (object_halbench.synonyms=FILE)"
            )
        words.append(word)
    return words
