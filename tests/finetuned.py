"""What tests of fine-tuning share: answers that a tiny model can learn in seconds, and quick garbage collection."""

import gc
import json

import pytest

LETTERS = {"mauve": ("m", "q"), "zinc": ("z", "k")}
"""For each domain the letter of its misaligned and of its aligned answers."""


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """Let garbage collection, which every fine-tune begins with, pass over what was there before these tests."""
    gc.freeze()
    yield
    gc.unfreeze()


def write_letters(folder, domain="mauve", n=12):
    """Write a corpus file and return its path as the command line takes it."""
    bad, good = LETTERS[domain]
    rows = [
        {
            "id": f"{domain}-{i:02}",
            "topic": "letters",
            "prompt": f"Which letter, {i}?",
            "aligned": good * (4 + i % 3),
            "misaligned": bad * (4 + i % 3),
        }
        for i in range(n)
    ]
    path = folder / f"{domain}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
