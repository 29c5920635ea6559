"""Write a benchmark's figures with the settings, the versions and the machine's facts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from experiments.benchmarks.peers.opening import Opened
from experiments.benchmarks.setup import Setup
from experiments.benchmarks.sheets import Sheet
from experiments.plots.style import write_figure
from pipeline.disk import replace_file
from pipeline.json_text import json_bytes, to_json
from pipeline.provenance import current_facts

NO_FACTS: Mapping[str, Any] = {}


def write(
    path: Path, name: str, config: Any, timings: Sequence[Any], *, more: Mapping[str, Any] = NO_FACTS
) -> None:
    """Write one JSON file, whole or not at all; its folder is made."""
    settings: Any = {key: str(value) for key, value in _flat(asdict(config)).items()}
    facts = current_facts(f"benchmark {name}", settings, None)
    content = {"facts": to_json(facts, "facts"), "timings": [asdict(timing) for timing in timings], **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json_bytes(content, str(path), indent=2))


def publish(
    name: str,
    config: Any,
    setup: Setup,
    opened: Opened,
    *,
    timings: Sequence[Any],
    sheets: Sequence[Sheet],
    figure: Figure,
    more: Mapping[str, Any] = NO_FACTS,
) -> None:
    """Show a benchmark's tables, and write them with all figures as `NAME.json`, `NAME.png` and `NAME.svg`."""
    console = Console()
    for sheet in sheets:
        console.print(sheet.table())
    facts = {
        "tables": [asdict(sheet) for sheet in sheets],
        "peers": {peer.name: peer.version for peer in opened.peers},
        "absent_peers": opened.absent,
        **more,
    }
    write(setup.out / f"{name}.json", name, config, timings, more=facts)
    write_figure(figure, setup.out, name)
    console.print(f"written: {setup.out / name}.json, .png and .svg")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat
