"""The `conflict.jsonl` of a run: a line for each probe, written by the main process and continued by a resumed run."""

import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from passk_trl import files
from passk_trl.distributed.ranks import on_first_rank
from passk_trl.interference.json_safe import json_safe
from passk_trl.records import ProbeRecord, read_records
from passk_trl.withheld import text_without_secrets


logger = logging.getLogger(__name__)


def append_record(path: Path, record: ProbeRecord) -> None:
    """
    Adds a record's line, which is on disk when this returns.

    Raises:
        `OSError`: if it cannot be written, as on a full disk. The file then is as it was.
    """
    line = (text_without_secrets(json.dumps(record.to_dict(), allow_nan=False)) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            while line:  # a disk that is almost full takes a part
                line = line[file.write(line) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)  # or the next line would begin within this one
            raise


def take_up_records(path: Path, step: int, first_due: int = 0) -> list[ProbeRecord]:
    """
    The records that a run has when it begins or is resumed, the same on all ranks.

    A resumed run keeps the records up to its checkpoint and drops the later ones, which will be made again. A new run
    keeps none: the file of an earlier run gets another name.

    Args:
        path (`Path`):
            The file, which need not exist.
        step (`int`):
            The step that the run begins after: that of its checkpoint, or 0 for a new run.
        first_due (`int`, *optional*, defaults to `0`):
            The step of a run's first report. A run that is resumed after it and has none is warned of.

    Raises:
        `OSError`: on all ranks, if the first one cannot read or write the file.
    """
    return [ProbeRecord.from_dict(line) for line in on_first_rank(partial(_lines_to_continue, path, step, first_due))]


def _lines_to_continue(path: Path, step: int, first_due: int) -> list[dict[str, Any]]:
    found = read_records(path) if path.exists() else []
    kept = [line for line in found if step > 0 and line["step"] <= step]
    if not kept and step > 0 and step >= first_due:
        logger.warning(
            "step %d: training is resumed, but %s has no report up to this step. Reports, alarm and controllers begin "
            "without those of the earlier run; to continue them, resume in its output_dir or copy its file there.",
            *(step, path),
        )
    if found:
        if step == 0:
            earlier = path.with_suffix(f".{int(path.stat().st_mtime)}.jsonl")
            path.replace(earlier)
            logger.warning("%s is of an earlier run; kept as %s.", path, earlier.name)
        else:
            files.write(path, "".join(json.dumps(json_safe(line), allow_nan=False) + "\n" for line in kept))
    return kept
