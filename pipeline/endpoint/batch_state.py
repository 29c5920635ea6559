"""How far a batch is: the file in its folder that every step is noted in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.disk import replace_file
from pipeline.json_text import json_bytes, parse_json
from pipeline.json_types import from_object

STATE = "batch.json"


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """How far a batch is: what `batch.json` holds.

    Attributes:
        format: Always `misdirection.batch/1`.
        base_url: Where it was sent.
        model: Who is asked.
        asked: A hash over all requests, cached ones too.
        name: The file's name at the provider; no other folder uses it.
        n_lines: How many calls it holds.
        begun: The step whose result may exist though it is not noted.
        file: The id of the uploaded file.
        batch: The id of the batch.
        status: What the provider last said of it, e.g. `in_progress`.
    """

    format: Literal["misdirection.batch/1"] = "misdirection.batch/1"
    base_url: str
    model: str
    asked: str
    name: str
    n_lines: int
    begun: Literal["upload", "batch"] | None = None
    file: str | None = None
    batch: str | None = None
    status: str | None = None


def read_state(folder: Path) -> BatchState:
    """Return how far the batch of a folder is.

    Raises:
        FileNotFoundError: The folder holds no batch.
        ValueError: Its state is damaged or of another format.
    """
    path = Path(folder) / STATE
    return from_object(parse_json(path.read_bytes(), str(path)), BatchState, str(path))


def noted(state: BatchState, folder: Path) -> BatchState:
    """Write the state into the folder, whole or not at all, and return it."""
    replace_file(folder / STATE, json_bytes(state, STATE, indent=2))
    return state
