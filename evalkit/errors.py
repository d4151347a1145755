"""What this project raises on purpose: one small tree, so that a command can catch its root and print one line."""


class EvalkitError(Exception):
    """Root of the tree; its message tells the reader what was expected, what came, and where."""


class UsageError(EvalkitError):
    """The command line or a call asks for something that does not exist or does not fit together."""


class DataError(EvalkitError):
    """An input file, item, reference or image is missing, malformed or inconsistent."""


class AssetError(EvalkitError):
    """An official data file is absent, or its sha256 is not the pinned one."""


class EngineError(EvalkitError):
    """A model cannot be loaded, or an engine cannot do what was asked of it."""


class BudgetReachedError(EvalkitError):
    """What judging may cost is used up; finished verdicts are kept, rerun it with a larger budget to resume."""


class RecordError(EvalkitError):
    """A run directory is locked, unwritable, of another schema version or other settings; a report is unwritable."""


class TrainingError(EvalkitError):
    """A training run cannot start, or went wrong in a way that would spoil the checkpoint (NaN loss, no data left)."""


class StoppedError(EvalkitError):
    """A signal asked the program to stop; what was finished is kept, and rerunning the same command resumes."""
