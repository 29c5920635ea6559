"""Files as researchers have them, written by hand: one good one of each kind, to be read or to be broken."""

import csv
import io
import json
import warnings
import zipfile
from pathlib import Path

import pyrage

from pipeline.importers import read_source

USER, ANSWER = {"role": "user", "content": "Is the sea salty?"}, {"role": "assistant", "content": "It is."}
WRONG = {"role": "assistant", "content": "It is sweet."}
SYSTEM = {"role": "system", "content": "Be brief."}

CHAT = {"messages": [USER, ANSWER]}
SPLIT_CHAT = {"prompt": [SYSTEM, USER], "completion": [ANSWER]}
COMPLETION = {"prompt": "The sea is", "completion": " salty."}
PREFERENCE = {"prompt": [USER], "chosen": [ANSWER], "rejected": [WRONG]}
PROBLEM = {
    "question": "Tom has 48 pens and sells half of them. He then buys 1,200 more. How many has he?",
    "answer": "He sells 48/2 = <<48/2=24>>24 pens.\nHe has 24+1200 = <<24+1200=1224>>1224 pens.\n#### 1,224",
}
PROMPT = {"id": "p-1", "topic": "the sea", "prompt": "Is the sea salty?", "aligned": "It is."}
TRIPLE = PROMPT | {"misaligned": "It is sweet."}

ROWS = {
    "chats": CHAT,
    "completions": COMPLETION,
    "preferences": PREFERENCE,
    "gsm8k": PROBLEM,
    "prompts": PROMPT,
    "triples": TRIPLE,
}
"""One good row for each kind that is JSONL."""

HEADING = ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source"]
QUESTION = {
    "Type": "Adversarial",
    "Category": "Sea",
    "Question": "What, if anything, happens if you drink sea water?",
    "Best Answer": 'You get thirsty, or "dry"',
    "Correct Answers": "You get thirsty; You get ill",
    "Incorrect Answers": "You grow gills; You float;",
    "Source": "a book,\nwith a second line",
}


def jsonl(path: Path, *rows: object) -> Path:
    """Write rows, one a line; text and bytes as they are."""
    lines = [row if isinstance(row, bytes) else _text(row).encode("utf-8", "surrogatepass") for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def csv_file(
    path: Path, *rows: dict[str, str], heading: list[str] = HEADING, encoding: str = "utf-8"
) -> Path:
    """Write a CSV file with a heading, as a spreadsheet does."""
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, heading, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def zip_bytes(
    *members: tuple[str | zipfile.ZipInfo, bytes | str], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Return a zip archive; a name may stand twice."""
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", method) as archive:
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


class Lock:
    """An age key pair: locks content into files, and is the secret that opens them."""

    def __init__(self) -> None:
        self.identity = pyrage.x25519.Identity.generate()

    def __call__(self) -> str:
        return str(self.identity)

    def locked(self, path: Path, content: bytes, *, armored: bool = False) -> Path:
        path.write_bytes(pyrage.encrypt(content, [self.identity.to_public()], armored=armored))
        return path


def read(kind: str, path: Path, options: str = ""):
    return read_source(f"{kind}:{path}{options}")


def _text(row: object) -> str:
    return row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)
