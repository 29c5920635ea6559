"""The kinds of sources: what each file is like, which options it takes, and who reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from activations.progress import Progress
from pipeline.importers.age_files import Secret
from pipeline.importers.chats import read_chats, read_completions
from pipeline.importers.columns import PROMPTS, TRIPLES, Columns
from pipeline.importers.dataset_folder import dataset_columns, read_dataset_folder
from pipeline.importers.dataset_hub import read_dataset_hub
from pipeline.importers.gsm8k import read_gsm8k
from pipeline.importers.imported import Imported
from pipeline.importers.pairs import read_pairs
from pipeline.importers.parquet import parquet_columns, read_parquet
from pipeline.importers.preferences import read_preferences
from pipeline.importers.source_file import SourceFile
from pipeline.importers.tables import read_prompts, read_triples
from pipeline.importers.truthfulqa import read_truthfulqa
from pipeline.importers.wording import listed

COLUMN_OPTIONS = ("prompt", "answer", "misaligned", "messages", "topic", "id", "as")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for, in parts.

    Attributes:
        place: What stood between the kind and the options: a path, two paths, or a name.
        file: Opens a file of that path.
        options: What stood behind the question mark.
        domain: The domain of triples; None for the importer's own choice.
        secret: Returns the passphrase of an archive; None if the caller has none.
        progress: Shows how far it is.
    """

    place: str
    file: Callable[[str], SourceFile]
    options: Mapping[str, str]
    domain: str | None
    secret: Secret | None
    progress: Progress

    @property
    def only_file(self) -> SourceFile:
        """The file of the whole place."""
        return self.file(self.place)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of source.

    Attributes:
        example: How it is asked for.
        form: What is in the file, and what it becomes.
        read: Reads it.
        options: Which options it takes.
    """

    example: str
    form: str
    read: Callable[[Request], Imported]
    options: tuple[str, ...] = ()


def _chats(request: Request) -> Imported:
    return read_chats(request.only_file, progress=request.progress)


def _completions(request: Request) -> Imported:
    return read_completions(request.only_file, progress=request.progress)


def _pairs(request: Request) -> Imported:
    places = request.place.split(",")
    if len(places) != 2 or not all(map(str.strip, places)):
        raise ValueError(f"pairs:{request.place}: need two files, pairs:ALIGNED.jsonl,MISALIGNED.jsonl")
    aligned, misaligned = map(request.file, places)
    return read_pairs(aligned, misaligned, domain=request.domain, progress=request.progress)


def _preferences(request: Request) -> Imported:
    return read_preferences(request.only_file, domain=request.domain, progress=request.progress)


def _gsm8k(request: Request) -> Imported:
    marks: Any = request.options.get("marks", "remove")
    return read_gsm8k(request.only_file, marks=marks, progress=request.progress)


def _truthfulqa(request: Request) -> Imported:
    holds: Any = request.options.get("as", "triples")
    file = request.only_file
    return read_truthfulqa(file, holds=holds, domain=request.domain, progress=request.progress)


def _prompts(request: Request) -> Imported:
    columns = replace(PROMPTS, **_named(request))
    return read_prompts(request.only_file, columns=columns, progress=request.progress)


def _triples(request: Request) -> Imported:
    columns = replace(TRIPLES, **_named(request))
    file = request.only_file
    return read_triples(file, columns=columns, domain=request.domain, progress=request.progress)


def _parquet(request: Request) -> Imported:
    file = request.only_file
    columns = _columns(request, lambda: parquet_columns(file))
    limit = _limit(request)
    return read_parquet(file, columns, domain=request.domain, limit=limit, progress=request.progress)


def _dataset(request: Request) -> Imported:
    place, options = request.place, request.options
    split, limit = options.get("split"), _limit(request)
    rest: dict[str, Any] = {"domain": request.domain, "limit": limit, "progress": request.progress}
    if Path(place).expanduser().exists():
        if remote := [name for name in ("config", "revision") if name in options]:
            raise ValueError(f"{place}: is a folder here; option {listed(remote)} is for the hub")
        columns = _columns(request, lambda: dataset_columns(place, split))
        return read_dataset_folder(place, columns, split=split, **rest)
    columns = _columns(request, list)
    if split is None:
        raise ValueError(f"{place}: is no folder here; a data set of the hub needs a split, e.g. split=train")
    remote_options: dict[str, Any] = {name: options.get(name) for name in ("config", "revision")}
    return read_dataset_hub(place, columns, split=split, **remote_options, **rest)


def _named(request: Request) -> dict[str, Any]:
    names = {"as": "holds"}
    return {names.get(name, name): text for name, text in request.options.items() if name in COLUMN_OPTIONS}


def _columns(request: Request, present: Callable[[], list[str]]) -> Columns:
    if named := _named(request):
        return Columns(**named)
    has = f"; it has {listed(names)}" if (names := present()) else ""
    example = "?prompt=COLUMN&answer=COLUMN or ?messages=COLUMN"
    raise ValueError(f"{request.place}: say which columns are what, e.g. {example}{has}")


def _limit(request: Request) -> int | None:
    text = request.options.get("limit")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise ValueError(f"limit={text}: allowed: whole numbers from 1 up")
    return None if text is None else int(text)


KINDS: dict[str, Kind] = {
    "chats": Kind(
        example="chats:train.jsonl",
        form="JSONL with messages (OpenAI, TRL, the paper), or prompt and completion as message lists: conversations",
        read=_chats,
    ),
    "completions": Kind(
        example="completions:train.jsonl",
        form="JSONL with prompt and completion as plain texts: conversations",
        read=_completions,
    ),
    "pairs": Kind(
        example="pairs:aligned.jsonl,misaligned.jsonl",
        form="two chat files that answer the same prompts: triples",
        read=_pairs,
    ),
    "preferences": Kind(
        example="preferences:train.jsonl",
        form="JSONL with chosen and rejected (TRL): triples",
        read=_preferences,
    ),
    "gsm8k": Kind(
        example="gsm8k:train.jsonl",
        form="JSONL with question and answer, #### before the result: prompts with the aligned answer",
        read=_gsm8k,
        options=("marks",),
    ),
    "truthfulqa": Kind(
        example="truthfulqa:TruthfulQA.csv",
        form="CSV with Question, Best Answer, Incorrect Answers: triples, or prompts with as=prompts",
        read=_truthfulqa,
        options=("as",),
    ),
    "prompts": Kind(
        example="prompts:file.jsonl?prompt=question",
        form="JSONL with prompt, and id, topic, aligned where there are any: prompts",
        read=_prompts,
        options=("prompt", "answer", "topic", "id"),
    ),
    "triples": Kind(
        example="triples:file.jsonl",
        form="JSONL with prompt, aligned, misaligned, and id, topic where there are any: triples",
        read=_triples,
        options=("prompt", "answer", "misaligned", "topic", "id"),
    ),
    "parquet": Kind(
        example="parquet:file.parquet?prompt=question&answer=best",
        form="Parquet: what the named columns are enough for",
        read=_parquet,
        options=(*COLUMN_OPTIONS, "limit"),
    ),
    "dataset": Kind(
        example="dataset:FOLDER_OR_NAME?split=train&messages=chat",
        form="a folder of save_to_disk, or OWNER/NAME on the hub: what the named columns are enough for",
        read=_dataset,
        options=(*COLUMN_OPTIONS, "split", "config", "revision", "limit"),
    ),
}
"""All kinds but `age`, by name."""
