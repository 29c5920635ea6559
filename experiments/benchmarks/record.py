"""Write a benchmark's figures with the settings, the versions and the machine's facts."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.disk import replace_file
from pipeline.json_text import json_bytes, to_json
from pipeline.provenance import current_facts


def write(path: Path, name: str, config: Any, timings: Sequence[Any]) -> None:
    """Write one JSON file, whole or not at all; its folder is made."""
    settings: Any = {key: str(value) for key, value in asdict(config).items()}
    facts = current_facts(f"benchmark {name}", settings, None)
    content = {"facts": to_json(facts, "facts"), "timings": [asdict(timing) for timing in timings]}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json_bytes(content, str(path), indent=2))
