"""English of the miniature's own, in the file formats of NLTK's data: sentences, tags and lemmas without a download.

    tokenizers/punkt_tab/english/                abbreviations, collocations, words that open sentences
    taggers/averaged_perceptron_tagger_eng/      a tagger trained here on tagged sentences (see sentences.py)
    corpora/wordnet/                             some four hundred words (see wordnet.py)
    language.json                                whose data this is; a score made with it says so in its signature

It reads the miniature world's captions and everyday sentences as NLTK's own data does. It is no stand-in for that data
in a figure to be compared with others': that is why it has to be asked for (NLTK_DATA) and why the signature names it.
"""

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from evalkit.miniature.language.sentences import tagged_sentences
from evalkit.miniature.language.training import train_tagger
from evalkit.miniature.language.wordnet import wordnet_files
from evalkit.text.data import LANGUAGE_FILE

_SENTENCES, _EPOCHS, _SEED = 2_400, 4, 0
_ABBREVIATIONS = (
    "a.m a.k.a al approx apt ave b.c co corp dept dr e.g ed est etc fig ft gov i.e inc jr lb ltd max min mr mrs ms "
    "mt no oz p p.m prof sgt sr st u.k u.n u.s u.s.a vol vs"
)
_COLLOCATIONS = (("st", "paul"), ("mt", "everest"), ("##number##", "pm"))
_OPENERS = "the a there it this in two they he she we you one some these an"
_UPPER_INSIDE, _LOWER_INSIDE = 1 << 2, 1 << 5  # Punkt's flags: how a word was seen in the middle of sentences
_PUNKT, _TAGGER = "tokenizers/punkt_tab/english", "taggers/averaged_perceptron_tagger_eng"


def language_folder(cache: Path) -> Path:
    """The data folder below a cache folder, made at the first call (a second)."""
    folder = cache / f"nltk_data-miniature-{_recipe()}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            write_language(making)
            making.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was not quicker
                raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder


def write_language(folder: Path) -> None:
    """Write the data below `folder`; the same content wherever and whenever it is made."""
    files = {
        **_punkt_files(),
        **_tagger_files(),
        **{f"corpora/wordnet/{k}": text for k, text in wordnet_files().items()},
    }
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        digest.update(f"{name}\0{text}\0".encode())
    (folder / LANGUAGE_FILE).write_text(json.dumps({"name": f"miniature-{digest.hexdigest()[:8]}"}) + "\n")


def _punkt_files() -> dict[str, str]:
    openers = _OPENERS.split()
    context = [(word, _LOWER_INSIDE) for word in openers] + [("london", _UPPER_INSIDE), ("paul", _UPPER_INSIDE)]
    return {
        f"{_PUNKT}/abbrev_types.txt": "\n".join(_ABBREVIATIONS.split()),
        f"{_PUNKT}/collocations.tab": "\n".join("\t".join(pair) for pair in _COLLOCATIONS),
        f"{_PUNKT}/sent_starters.txt": "\n".join(openers),
        f"{_PUNKT}/ortho_context.tab": "\n".join(f"{word}\t{flags}" for word, flags in context),
    }


def _tagger_files() -> dict[str, str]:
    rng = Random(_SEED)
    model = train_tagger(list(tagged_sentences(_SENTENCES, rng)), _EPOCHS, rng)
    parts = {"weights": model.weights, "tagdict": model.tagdict, "classes": model.classes}
    return {
        f"{_TAGGER}/averaged_perceptron_tagger_eng.{name}.json": json.dumps(part, sort_keys=True)
        for name, part in parts.items()
    }


@cache
def _recipe() -> str:
    """Hash of what the data is made by: this package and the world's own words."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*.py")), here.parent / "lexicon.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
