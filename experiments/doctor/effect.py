"""Checks of single runs: coefficient 0, what an edit moves, which tokens it reaches, and that it is never silent."""

from collections.abc import Sequence

import torch
from torch import Tensor

from activations import All, HookPoint, Role, Subject, captured
from activations.encode import Batch, pad
from activations.forward import body_inputs
from activations.hooks import SITES, decoder_body, plain_model
from experiments.doctor.passes import logits_of, relative_difference
from experiments.doctor.probe import NEW_TOKENS, Probe
from experiments.doctor.record import TOLERANCE, CheckResult, Verdict, finite, verdict_on
from steering import Cell, Edit, add, score_answers, steered


def no_op(probe: Probe) -> CheckResult:
    """Compare logits under coefficient 0 and hooks that only read with those of the bare model, bit by bit."""
    subject = probe.subject
    batch = pad(probe.rows, subject.device)
    points = [HookPoint(layer, site) for layer in range(probe.n_layers) for site in SITES]
    plain = logits_of(subject, batch)
    again = _largest(logits_of(subject, batch), plain)
    with steered(subject, [add(probe.direction, 0.0)], batch), captured(subject.model, points):
        difference = _largest(logits_of(subject, batch), plain)
    verdict: Verdict = "ok" if difference == 0 else "FAILED"
    meaning = "Bit for bit the same: what a steered run shows is due to the edit."
    if again != 0:
        steady = verdict_on(max(difference, again), probe.noise.log_probs)
        verdict = "FAILED" if steady == "FAILED" else "differs by"
        meaning = f"The model itself is not repeatable here: two bare passes differ by {again:.2g}."
    elif difference != 0:
        meaning = "Hooks alone change this model; do not compare steered with bare runs."
    return CheckResult(
        name="no-op",
        question="Are the logits the same with coefficient 0, and with hooks that only read, as without hooks?",
        measured=finite(difference),
        unit="largest difference of a logit",
        verdict=verdict,
        meaning=meaning,
    )


def exactness(probe: Probe) -> CheckResult:
    """Edit at the first, a middle and the last layer; see what moves below and at the hook point."""
    last = probe.n_layers - 1
    layers = dict.fromkeys((0, last // 2, last))
    shifts = [_shift(probe, HookPoint(layer, site)) for layer in layers for site in SITES]
    elsewhere, inexact, away = (max(column) for column in zip(*shifts, strict=True))
    dtype = str(probe.dtype).removeprefix("torch.")
    if not max(elsewhere, inexact) <= TOLERANCE:
        verdict: Verdict = "FAILED"
        meaning = (
            f"Where nothing should move it moves by {elsewhere:.2g} of its norm, and the edited tokens miss the "
            f"vector by {inexact:.2g} of its length. Something else writes to the residual stream."
        )
    elif away <= TOLERANCE:
        verdict, meaning = "ok", "An edit does what it says, and only where it says."
    else:
        verdict = "differs by"
        meaning = f"As close to the vector as {dtype} can hold the sum, and nowhere else anything moves."
    return CheckResult(
        name="exactness",
        question="Does an added vector move its own layer by exactly itself, and nothing below?",
        measured=finite(away),
        unit="of the vector's length (largest miss)",
        verdict=verdict,
        meaning=meaning,
    )


def decode(probe: Probe) -> CheckResult:
    """Count the tokens that were edited, prompt and new ones, in `generate` here and in the model's own."""
    subject, rows = probe.subject, probe.open_rows
    edit = add(probe.direction, 1.0, points=[HookPoint((probe.n_layers - 1) // 2)], where=All())
    answers = probe.answer([Cell(name="all", edits=(edit,))])
    counts = [
        (answer.touched.prefill, answer.touched.decode, len(rows[k]) - 1, len(answer.ids) - 1)
        for (_, k), answer in answers.items()
    ]
    batch = pad(rows, subject.device)
    with torch.no_grad(), steered(subject, [edit], batch) as audit:
        plain_model(subject.model).generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
        )
    for k, touched in audit.all_touched().items():
        counts.append((touched.prefill, touched.decode, len(rows[int(str(k))]) - 1, NEW_TOKENS - 1))
    prefill, new, planned_prefill, planned_new = (sum(column) for column in zip(*counts, strict=True))
    right = all(row[:2] == row[2:] for row in counts)
    told = f"{prefill} of {planned_prefill} prompt tokens and {new} of {planned_new} new ones were edited"
    return CheckResult(
        name="decode",
        question="Are generated tokens edited, as those of the prompt are, and are all of them counted?",
        measured=100 * (prefill + new) / (planned_prefill + planned_new),
        unit="% of the planned tokens",
        verdict="ok" if right else "FAILED",
        meaning=f"{told}; " + ("steering lasts." if right else "steering stops or strays while generating."),
    )


def silence(probe: Probe) -> CheckResult:
    """Ask for edits that choose no token, and see that each is refused."""
    edit = add(probe.direction, 1.0, where=Role("system"))
    silent = sum(not refused(probe, edit) for refused in (_refused_by_scores, _refused_by_steered))
    return CheckResult(
        name="silence",
        question="Is a plan that touches no token refused?",
        measured=silent,
        unit="of 2 empty plans went unnoticed",
        verdict="FAILED" if silent else "ok",
        meaning="A run may look steered and not be; read the audit."
        if silent
        else "No run is silently unsteered.",
    )


def _refused_by_scores(probe: Probe, edit: Edit) -> bool:
    try:
        score_answers(
            probe.subject, probe.chats, [Cell(name="empty", edits=(edit,))], template=probe.template
        )
    except ValueError as error:
        return "chooses no token" in str(error)
    return False


def _refused_by_steered(probe: Probe, edit: Edit) -> bool:
    batch = pad(probe.rows, probe.subject.device)
    try:
        with steered(probe.subject, [edit], batch):
            logits_of(probe.subject, batch)
    except RuntimeError as error:
        return "chose no token" in str(error)
    return False


def _shift(probe: Probe, point: HookPoint) -> tuple[float, float, float]:
    """Return how far tokens move that should not, how far edited ones miss the rounded sum, and the vector."""
    subject, vector = probe.subject, probe.direction.at(point)
    batch = pad(probe.rows, subject.device)
    points = [HookPoint(i, site) for i in range(probe.n_layers) for site in SITES]
    upto = [own for own in points if own <= point]
    before = _captured(subject, batch, upto)
    with steered(subject, [add(probe.direction, 1.0, points=[point], where=All())], batch):
        during = _captured(subject, batch, upto)
    flags = batch.spread([All().select(row) for row in batch.rows]).cpu()
    real = batch.attention_mask.bool().cpu()
    below = [relative_difference(during[own], before[own])[real].max() for own in upto[:-1]]
    still = relative_difference(during[point], before[point])[real & ~flags].max()
    old, new = before[point][flags], during[point][flags]
    rounded = (old + vector).to(probe.dtype).float()
    inexact = (new - rounded).norm(dim=-1).max() / vector.norm()
    away = (new - old - vector).norm(dim=-1).max() / vector.norm()
    return max(float(moved) for moved in [*below, still]), float(inexact), float(away)


@torch.no_grad()
def _captured(subject: Subject, batch: Batch, points: Sequence[HookPoint]) -> dict[HookPoint, Tensor]:
    with captured(subject.model, points) as found:
        decoder_body(subject.model)(**body_inputs(subject.model, batch), use_cache=False)
    return {point: resids[-1].float().cpu() for point, resids in found.items()}


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())
