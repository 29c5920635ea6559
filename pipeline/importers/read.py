"""One way to read any source: `KIND:PLACE?option=value`, as on a command line."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl

from activations.progress import Progress, silent
from pipeline.importers.age_files import Secret, secret_in
from pipeline.importers.archive import archive_members
from pipeline.importers.imported import Imported
from pipeline.importers.kinds import KINDS, Kind, Request
from pipeline.importers.source_file import SourceFile, on_disk, sha256_of
from pipeline.importers.wording import listed, meant

_ARCHIVE_OPTIONS = ("kind", "file", "passphrase_file")


def read_source(
    text: str, *, domain: str | None = None, secret: Secret | None = None, progress: Progress = silent
) -> Imported:
    """Read a source of prompts, triples or conversations.

    Args:
        text: `KIND:PLACE`, with options behind a question mark, parted by `&`, with `%20` for a space:
            `gsm8k:train.jsonl`, `pairs:aligned.jsonl,misaligned.jsonl`, `truthfulqa:TruthfulQA.csv?as=prompts`,
            `parquet:file.parquet?prompt=question&answer=best`, `age:data.zip.age?kind=chats&file=NAME`.
        domain: The domain of triples; by default the file's name without its ending.
        secret: Returns the passphrase or the secret key of an encrypted archive, unless the text has
            `passphrase_file`.
        progress: Shows how far it is.

    Raises:
        OSError: A file cannot be read.
        LookupError: An optional package is missing, or the hub cannot be reached.
        ValueError: The text is not of this form, or a file is not what it says; the text says what is allowed.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in SOURCES:
        raise ValueError(f"source {text!r}: {_unknown(kind, bool(colon))}")
    place, _, query = rest.partition("?")
    if not place.strip():
        raise ValueError(f"source {text!r}: names no file; e.g. {SOURCES[kind].example}")
    request = Request(
        place=place,
        file=on_disk,
        options=_options(query, text),
        domain=domain,
        secret=secret,
        progress=progress,
    )
    if kind != "age":
        _check_options(request.options, SOURCES[kind].options, kind)
    return SOURCES[kind].read(request)


def kinds_told() -> str:
    """Return every kind with an example and what it reads, a line each."""
    width = max(len(kind.example) for kind in SOURCES.values())
    return "\n".join(f"{kind.example:{width}}  {kind.form}" for kind in SOURCES.values())


def _unknown(kind: str, colon: bool) -> str:
    said = f"{kind!r} is no kind{meant(kind, SOURCES)}" if colon else "need KIND:FILE"
    return f"{said}; kinds: {', '.join(source.example for source in SOURCES.values())}"


def _options(query: str, text: str) -> dict[str, str]:
    try:
        pairs = (
            parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict") if query else []
        )
    except ValueError as error:
        raise ValueError(
            f"source {text!r}: options have the form ?name=value&name=value ({error})"
        ) from error
    if blank := [name for name, value in pairs if not value.strip()]:
        raise ValueError(f"source {text!r}: option {listed(blank)} has no value")
    if len(options := dict(pairs)) < len(pairs):
        raise ValueError(f"source {text!r}: an option is given twice")
    return options


def _check_options(options: Mapping[str, str], allowed: Sequence[str], kind: str) -> None:
    if unknown := [name for name in options if name not in allowed]:
        near = meant(unknown[0], allowed)
        raise ValueError(f"{kind}: unknown option {listed(unknown)}; allowed: {listed(allowed)}{near}")


def _in_archive(request: Request) -> Imported:
    options = request.options
    inner = options.get("kind", "")
    if inner not in KINDS or inner == "dataset":
        allowed = listed(name for name in KINDS if name != "dataset")
        got = f"got {inner!r}" if inner else "it is missing"
        raise ValueError(f"age: option kind says what the file in the archive is; {got}; allowed: {allowed}")
    rest = {name: value for name, value in options.items() if name not in _ARCHIVE_OPTIONS}
    _check_options(rest, KINDS[inner].options, f"age with kind={inner}")
    archive = on_disk(request.place)

    def missing() -> str:
        raise ValueError(f"{archive.name}: needs a passphrase; put it into a file, add passphrase_file=FILE")

    file_given = options.get("passphrase_file")
    secret = secret_in(file_given) if file_given else request.secret or missing
    with archive_members(archive, secret=secret) as members:
        wanted = options.get("file") or (next(iter(members)) if len(members) == 1 else "")

        def file(name: str) -> SourceFile:
            if name not in members:
                asked = f"no file {name!r}{meant(name, members)}" if name else "say which file"
                raise ValueError(f"{archive.name}: {asked}; it holds {listed(members)}; add file=NAME")
            return members[name]

        read = KINDS[inner].read(replace(request, place=wanted, file=file, options=rest))
    return replace(read, files=(*read.files, sha256_of(archive)))


SOURCES: dict[str, Kind] = {
    **KINDS,
    "age": Kind(
        example="age:data.zip.age?kind=chats&file=NAME",
        form="a zip archive encrypted with age: what the kind makes of a file in it",
        read=_in_archive,
    ),
}
"""All kinds of sources, by name."""
