"""Say in a run folder what ids stand for, and refuse to go on where they meant something else before."""

from collections.abc import Iterable

from pipeline.json_text import shown, to_json
from pipeline.provenance import differences
from pipeline.runs import RunFolder


def declare(run: RunFolder, stage: str, rows: Iterable[object]) -> None:
    """Write rows to a stage; those that are there already must be the same.

    So a run can be given more arms or questions later, but not an arm whose adapter was trained anew.

    Args:
        run: An open run folder.
        stage: Name of the stage.
        rows: Dataclasses or dicts with an `id`.

    Raises:
        ValueError: A row that is there holds something else; says what.
    """
    there = {row["id"]: row for row in run.rows(stage)}
    for row in rows:
        plain = to_json(row, stage)
        if (old := there.get(plain["id"])) is None:
            run.append(stage, plain)
            continue
        if changed := differences(old, plain):
            told = "; ".join(f"{name}: {shown(a)} there, {shown(b)} now" for name, a, b in changed)
            path = run.stage_path(stage)
            raise ValueError(f"{path}: {plain['id']!r} was otherwise: {told}. Choose a new folder")
