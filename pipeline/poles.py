"""Capture the two poles of a direction: a model reading the misaligned and the aligned answers of triples."""

from collections.abc import Sequence
from dataclasses import dataclass

from activations import Activations, Answer, HookPoint, Subject, Where, collect
from activations.chat import Template
from activations.progress import Progress, silent
from pipeline.propensity import answered
from pipeline.records import Triple


@dataclass(frozen=True)
class Poles:
    """Activations on the misaligned and on the aligned answers; row i of both belongs to the same triple."""

    misaligned: Activations
    aligned: Activations


def capture_poles(
    subject: Subject,
    triples: Sequence[Triple],
    *,
    where: Where = Answer(),
    points: Sequence[HookPoint] | None = None,
    system: str | None = None,
    template: Template = "chat",
    progress: Progress = silent,
) -> Poles:
    """Return the mean activations over the chosen tokens of each answer, by default over the whole answer.

    Raises:
        ValueError: There are no triples, or one is too long or has no chosen token; see `collect`.
        IndexError: A hook point names a layer that the model does not have.
    """
    if not triples:
        raise ValueError("triples: got none, need at least one")
    chats = [answered(t, t.misaligned, system) for t in triples] + [
        answered(t, t.aligned, system) for t in triples
    ]
    names = [t.id for t in triples] * 2
    both = collect(subject, chats, where, points=points, names=names, template=template, progress=progress)
    n = len(triples)
    return Poles(misaligned=both.select(range(n)), aligned=both.select(range(n, 2 * n)))
