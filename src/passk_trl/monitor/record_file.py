"""The `conflict.jsonl` of a run: a line for each probe, written by the main process and continued by a resumed run."""

import json
import logging
import os
from pathlib import Path

from passk_trl import files
from passk_trl.distributed.ranks import gather_list
from passk_trl.interference.json_safe import json_safe
from passk_trl.records import ProbeRecord, read_records


logger = logging.getLogger(__name__)


def append_record(path: Path, record: ProbeRecord) -> None:
    """Adds a record's line, which is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record.to_dict(), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def take_up_records(path: Path, step: int, is_main_process: bool) -> list[ProbeRecord]:
    """
    The records that a run has when it begins or is resumed, the same on all ranks.

    A resumed run keeps the records up to its checkpoint and drops the later ones, which will be made again. A new run
    keeps none: the file of an earlier run gets another name.

    Args:
        path (`Path`):
            The file, which need not exist.
        step (`int`):
            The step that the run begins after: that of its checkpoint, or 0 for a new run.
        is_main_process (`bool`):
            Whether this is the main process, which alone reads and writes. Another node may not see its disk.
    """
    found = gather_list([read_records(path) if is_main_process and path.exists() else []])[0]
    kept = [line for line in found if step > 0 and line["step"] <= step]
    if found and is_main_process:
        if step == 0:
            earlier = path.with_suffix(f".{int(path.stat().st_mtime)}.jsonl")
            path.replace(earlier)
            logger.warning("%s is of an earlier run; kept as %s.", path, earlier.name)
        else:
            files.write(path, "".join(json.dumps(json_safe(line), allow_nan=False) + "\n" for line in kept))
    return [ProbeRecord.from_dict(line) for line in kept]
