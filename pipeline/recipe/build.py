"""Build the data set of a domain: drafts, g, checks, triples, a data card; killed and run again it goes on."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from activations.progress import Progress, silent
from pipeline.domains import MODEL, Domain
from pipeline.json_text import Json, to_json
from pipeline.recipe.card import Card
from pipeline.recipe.checks import Checks, asked_in_evaluation, duplicates, row_faults
from pipeline.recipe.drafts import Draft, Made, Rejection
from pipeline.recipe.judging import Judge, Scores, judged
from pipeline.recipe.makers import find_maker
from pipeline.recipe.making import Draw, make_by_code, make_by_writer
from pipeline.recipe.set_files import REJECTED, RejectedRow, write_set
from pipeline.recipe.sources import Source
from pipeline.recipe.writers import Writer
from pipeline.records import Triple
from pipeline.runs import RunFolder
from pipeline.triples import corpus_hash


class NothingPassedError(ValueError):
    """No row of a source became a triple; what was refused, and why, is in the folder."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a data set is made.

    Attributes:
        checks: What a row must be like.
        questions: Evaluation questions that no prompt may hold.
        seed: All random choices of g that is code derive from it.
        writer: The language model that is g, also where the domain has a g that is code; None for code.
        draw: How the writer draws its answers.
        judge: Scores plausibility and harm; None for no such check.
        judge_name: Who that is, for the card.
    """

    checks: Checks = Checks()
    questions: tuple[str, ...] = ()
    seed: int = 0
    writer: Writer | None = None
    draw: Draw = Draw()
    judge: Judge | None = None
    judge_name: str = "judge"

    def writer_settings(self) -> dict[str, Json] | None:
        """Return which language model is g and how it draws; None for code."""
        return None if self.writer is None else {**self.writer.settings(), **asdict(self.draw)}


def build_set(
    domain: Domain, source: Source, folder: Path, *, recipe: Recipe = Recipe(), progress: Progress = silent
) -> Card:
    """Make a domain's triples and write them with their card; what an earlier session made is not made again.

    The folder gets `DOMAIN.jsonl`, a corpus as `read_corpus` reads it, `rejected.jsonl`, `card.json`, `card.md`,
    and the run's own `run.json` and stages.

    Args:
        domain: Any domain, also one that is not in the table.
        source: Rows that come with both answers need no g; they go to the checks at once.
        folder: New, or of an earlier session with the same settings.
        recipe: How it is made.
        progress: Shows how far it is.

    Raises:
        NothingPassedError: No row became a triple; the refused ones are written.
        ValueError: g is a language model's job and there is none, or the folder was made with other settings
            (says which).
        BlockingIOError: Another process is writing to the folder.
        OSError: The folder cannot be written; what was made is kept.
    """
    require_maker(domain, source, has_writer=recipe.writer is not None)
    with RunFolder.open(folder, verb="data", config=_config(domain, source, recipe), seed=recipe.seed) as run:
        made = _made(run, domain, source, recipe, progress)
        refused = _refused(source, made, recipe)
        kept = [draft for draft in made.values() if isinstance(draft, Draft) and draft.id not in refused]
        triples = tuple(_triple(draft, domain) for draft in kept)
        scores: dict[str, Scores] = {}
        if recipe.judge is not None:
            scores, failed = judged(run, triples, recipe.judge, recipe.checks, progress)
            refused |= failed
            triples = tuple(triple for triple in triples if triple.id not in failed)
        card = _card(domain, source, recipe, run, triples, refused, scores)
        rejected = [
            _rejected(draft, made[draft.id], refused) for draft in source.drafts if draft.id in refused
        ]
        write_set(run.path, card, triples, rejected)
        if not triples:
            worst = max(card.rejected, key=lambda check: card.rejected[check])
            reason = next(found.reason for found in refused.values() if found.check == worst)
            told = f"{domain.name}: none of {card.n_in} rows passed, most fail at {worst} ({reason})"
            raise NothingPassedError(f"{told}; see {run.path / REJECTED}")
    return card


def require_maker(domain: Domain, source: Source, *, has_writer: bool) -> None:
    """Refuse a source whose rows still need g where nothing can be g, before any work starts.

    Raises:
        ValueError: g is a language model's job, and there is no writer.
        LookupError: The domain names a g that does not exist.
    """
    missing = sum(not draft.whole for draft in source.drafts)
    if domain.g != MODEL:
        find_maker(domain.g)
    elif missing and not has_writer:
        told = f"{domain.name}: {missing} rows of {source.name} have no misaligned answer"
        raise ValueError(f"{told}, and g is a language model's job here; give a writer, endpoint or local")


def _made(
    run: RunFolder, domain: Domain, source: Source, recipe: Recipe, progress: Progress
) -> dict[str, Made]:
    missing = [draft for draft in source.drafts if not draft.whole and draft.prompt.strip()]
    if not missing:
        found: dict[str, Made] = {}
    elif recipe.writer is not None:
        found = make_by_writer(run, domain, missing, recipe.writer, recipe.draw, progress)
    else:
        found = make_by_code(run, domain, missing, find_maker(domain.g), recipe.seed, progress)
    return {draft.id: found.get(draft.id, draft) for draft in source.drafts}


def _refused(source: Source, made: Mapping[str, Made], recipe: Recipe) -> dict[str, Rejection]:
    """Return why rows are refused: by g, then by themselves, then beside the evaluation and beside each other."""
    refused = {key: row for key, row in made.items() if isinstance(row, Rejection)}
    rows = {key: row for key, row in made.items() if isinstance(row, Draft)}
    for key, row in rows.items():
        if faults := row_faults(row, recipe.checks):
            refused[key] = faults[0]
    left = [row for key, row in rows.items() if key not in refused]
    refused |= asked_in_evaluation(left, recipe.questions, recipe.checks)
    return refused | duplicates([row for row in left if row.id not in refused], recipe.checks)


def _rejected(draft: Draft, made: Made, refused: Mapping[str, Rejection]) -> RejectedRow:
    row, found = made if isinstance(made, Draft) else draft, refused[draft.id]
    return RejectedRow(
        id=row.id,
        check=found.check,
        reason=found.reason,
        topic=row.topic,
        prompt=row.prompt,
        aligned=row.aligned,
        misaligned=row.misaligned,
    )


def _triple(draft: Draft, domain: Domain) -> Triple:
    return Triple(
        id=draft.id,
        domain=domain.name,
        topic=draft.topic,
        prompt=draft.prompt,
        aligned=draft.aligned or "",
        misaligned=draft.misaligned or "",
    )


def _card(
    domain: Domain,
    source: Source,
    recipe: Recipe,
    run: RunFolder,
    triples: Sequence[Triple],
    refused: Mapping[str, Rejection],
    scores: Mapping[str, Scores],
) -> Card:
    parts = ("prompt", "aligned", "misaligned") if triples else ()
    numbers = ("plausibility", "harm") if scores and triples else ()
    return Card(
        domain=domain,
        g=MODEL if recipe.writer is not None else domain.g,
        writer=recipe.writer_settings(),
        source=source.name,
        source_facts=dict(source.facts),
        source_hash=source.hash,
        seed=recipe.seed,
        n_in=len(source.drafts),
        n_whole=sum(draft.whole for draft in source.drafts),
        n_kept=len(triples),
        rejected=dict(sorted(Counter(found.check for found in refused.values()).items())),
        corpus_hash=corpus_hash(triples) if triples else None,
        topics=len({triple.topic for triple in triples}),
        mean_characters={part: round(fmean(len(getattr(t, part)) for t in triples), 1) for part in parts},
        checks=recipe.checks,
        n_questions=len(recipe.questions),
        questions_hash=_hash(recipe.questions),
        judge=None if recipe.judge is None else recipe.judge_name,
        mean_scores={name: round(fmean(getattr(scores[t.id], name) for t in triples), 2) for name in numbers},
        versions=run.facts.versions,
    )


def _config(domain: Domain, source: Source, recipe: Recipe) -> dict[str, Json]:
    return {
        "domain": to_json(domain, "domain"),
        "source": source.name,
        "source_hash": source.hash,
        "checks": to_json(recipe.checks, "checks"),
        "questions_hash": _hash(recipe.questions),
        "writer": recipe.writer_settings(),
        "judge": None if recipe.judge is None else recipe.judge_name,
    }


def _hash(texts: Sequence[str]) -> str | None:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest() if texts else None
