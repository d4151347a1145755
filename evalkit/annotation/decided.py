"""What a study says in the end: the adjudicated answer of an item, or what each annotator says of it."""

from collections.abc import Mapping

from evalkit.annotation.journal import State, read_state
from evalkit.annotation.study import ADJUDICATOR, Study, StudyItem
from evalkit.schema import Json


def read_states(study: Study) -> dict[str, State]:
    """Annotator -> what stands in the journal.

    Raises:
        RecordError: if a journal cannot be read.
    """
    return {name: read_state(study, name) for name in study.annotators}


def all_answers(study: Study) -> list[tuple[StudyItem, dict[str, Mapping[str, Json]]]]:
    """Every item that was answered, with the answers that count: the adjudicated one alone, else each annotator's.

    Raises:
        RecordError: if a journal cannot be read.
    """
    states = read_states(study)
    final = read_state(study, ADJUDICATOR).answers
    counting = []
    for item in study.items:
        if item.key in final:
            counting.append((item, {ADJUDICATOR: final[item.key]}))
            continue
        own = {name: state.answers[item.key] for name, state in states.items() if item.key in state.answers}
        if own:
            counting.append((item, own))
    return counting
