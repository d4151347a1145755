"""Folders that `datasets.save_to_disk` writes: Arrow files in the streaming format, one folder or one per split."""

from collections.abc import Iterator
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.json_values import json_value
from evalkit.files.rows import Row

_STATE, _SPLITS = "state.json", "dataset_dict.json"


def is_saved_folder(path: Path) -> bool:
    """Whether the folder was written by `save_to_disk`."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


def saved_rows(path: Path) -> Iterator[Row]:
    """Rows of the folder; of several splits, the one called train. Images stay bytes or paths.

    Raises:
        DataError: if there are several splits and none is called train, or a file is absent or torn.
    """
    folder = _split(path)
    try:
        files = [entry["filename"] for entry in json_value((folder / _STATE).read_text("utf-8"))["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / _STATE}: names no data files ({error})") from error
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(f"{path}: Arrow files need pyarrow: pip install 'hallu-evalkit[align]'") from error
    for name in files:
        try:
            with pyarrow.memory_map(str(folder / name)) as source, pyarrow.ipc.open_stream(source) as reader:
                number = 0
                for batch in reader:
                    for fields in batch.to_pylist():
                        number += 1
                        yield Row(f"{folder / name}: row {number}", fields)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{folder / name}: cannot be read as Arrow: {error}") from error


def _split(path: Path) -> Path:
    if not (path / _SPLITS).is_file():
        return path
    try:
        splits = list(json_value((path / _SPLITS).read_text("utf-8"))["splits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path / _SPLITS}: names no splits ({error})") from error
    if "train" not in splits and len(splits) != 1:
        raise DataError(
            f"{path}: several splits, none called train; name one: {', '.join(f'{path}/{s}' for s in splits)}"
        )
    return path / ("train" if "train" in splits else splits[0])
