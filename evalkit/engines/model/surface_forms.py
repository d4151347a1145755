"""Surface forms of an answer ("yes", "Yes") told apart by their first tokens."""

from collections.abc import Sequence

from evalkit.errors import EngineError


def split_forms(groups: Sequence[Sequence[Sequence[int]]]) -> tuple[list[int], list[list[int]]]:
    """(tokens that all forms begin with, first differing tokens of each group).

    Raises:
        EngineError: if a form is empty, or two groups share a token.
    """
    forms = [list(form) for group in groups for form in group]
    if not all(forms):
        raise EngineError("an empty surface form has no first token")
    shortest = min((len(form) for form in forms), default=1)
    same = [len({form[i] for form in forms}) == 1 for i in range(shortest - 1)] + [False]
    prefix = forms[0][: same.index(False)] if forms else []
    firsts = [sorted({form[len(prefix)] for form in group}) for group in groups]
    shared = {token for i, group in enumerate(firsts) for token in group if any(token in g for g in firsts[:i])}
    if shared:
        raise EngineError(f"groups of surface forms share the first token {sorted(shared)}: they cannot be told apart")
    return prefix, firsts
