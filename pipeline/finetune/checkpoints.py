"""Checkpoints of a fine-tune: which are whole, the last of them, and what is kept when the run is finished."""

import json
import shutil
from pathlib import Path

from pipeline.finetune.adapter import ADAPTER_FILES

FINAL = "final"
"""Folder among the checkpoints in which the finished adapter is written before it gets its place."""

STATE = "trainer_state.json"
"""Written last of what a resume needs, so a checkpoint without it, or with a torn one, was cut off by a kill."""


def steps_of(checkpoint: Path) -> int | None:
    """Return after how many steps a checkpoint was made; None if it is not whole."""
    try:
        return int(json.loads((checkpoint / STATE).read_bytes())["global_step"])
    except (OSError, ValueError, KeyError):
        return None


def last_checkpoint(folder: Path) -> Path | None:
    """Return the whole checkpoint with the most steps; None if there is none."""
    steps = {path: step for path in folder.glob("checkpoint-*") if (step := steps_of(path)) is not None}
    return max(steps, key=steps.__getitem__, default=None)


def remove_torn(folder: Path) -> None:
    """Remove checkpoints that a kill left unfinished."""
    for path in folder.glob("checkpoint-*"):
        if steps_of(path) is None:
            shutil.rmtree(path)


def remove_older(folder: Path) -> None:
    """Remove all checkpoints but the last whole one."""
    last = last_checkpoint(folder)
    for path in folder.glob("checkpoint-*"):
        if path != last:
            shutil.rmtree(path)


def clear(folder: Path, *, keep_adapters: bool) -> None:
    """Remove what only a resume needs: all checkpoints, or all of them but their adapters."""
    if not keep_adapters:
        shutil.rmtree(folder, ignore_errors=True)
        return
    shutil.rmtree(folder / FINAL, ignore_errors=True)
    for path in folder.glob("checkpoint-*/*"):
        if path.name not in ADAPTER_FILES:
            path.unlink()
