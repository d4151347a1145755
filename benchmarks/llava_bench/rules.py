"""What LLaVA-Bench's judge is asked: the authors' rule text, or this project's own, below context and both answers."""

import hashlib
from pathlib import Path

from benchmarks.judges.prompts import JudgePrompt, PromptChoice, own_prompt
from evalkit.errors import AssetError, DataError
from evalkit.files.assets import asset, find_asset, is_offline, state
from evalkit.files.fields import read_object

RULES = "llava_bench/rule.json"
SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer."
ROLE = "Assistant"


def rule_text(key: str, sha256: str, choice: PromptChoice = "auto", rules: Path | None = None) -> JudgePrompt:
    """The rule text of a set.

    Args:
        key: of the authors' rule.json, e.g. "conv" (the set's three keys share one text).
        sha256: of the text.
        choice: "official"; "own"; "auto": the official one, or our own where it is neither here nor can be fetched
            because downloads are forbidden.
        rules: the authors' rule.json, in place of the official file.
    Raises:
        AssetError: if the file is needed and missing, or holds another text than the pinned one.
    """
    if choice == "own":
        return own_prompt("llava_bench_judge")
    if rules is None:
        if choice == "auto" and is_offline() and state(find_asset(RULES)).path is None:
            return own_prompt("llava_bench_judge")
        rules = asset(RULES)
    try:
        text = read_object(rules)[key]["prompt"]
    except (KeyError, TypeError, DataError) as error:
        raise AssetError(f"{rules}: holds no prompt {key!r}; is it the authors' rule.json?") from error
    digest = hashlib.sha256(str(text).encode("utf-8", errors="surrogatepass")).hexdigest()
    if digest != sha256:
        raise AssetError(f"{rules}: the prompt {key!r} has sha256 {digest}, expected {sha256}; fetch the pinned file")
    return JudgePrompt(str(text), f"official-{digest[:8]}")


def judge_question(rule: str, context: str, question: str, first: str, second: str) -> str:
    """The user message: context, question, two answers, rule text, in the authors' layout.

    >>> judge_question("Rate.", "A dog.", "What?", "Dog.", "Cat.").splitlines()[6:8]
    ['[Assistant 1]', 'Dog.']
    """
    return (
        f"[Context]\n{context}\n\n[Question]\n{question}\n\n"
        f"[{ROLE} 1]\n{first}\n\n[End of {ROLE} 1]\n\n"
        f"[{ROLE} 2]\n{second}\n\n[End of {ROLE} 2]\n\n"
        f"[System]\n{rule}\n\n"
    )
