"""Check that nothing stays on the model when work breaks off, wherever it does."""

from collections.abc import Callable

import torch

from activations import HookPoint, Subject, edited
from activations.encode import pad
from activations.fingerprint import fingerprint
from activations.hooks import Resid
from experiments.doctor.passes import logits_of
from experiments.doctor.probe import Probe
from experiments.doctor.record import CheckResult
from steering import score_answers, steered


class FaultError(Exception):
    """Raised on purpose, where a user's code or the machine may raise anything."""


def cleanup(probe: Probe) -> CheckResult:
    """Break off in many ways, and look for anything that is still on the model or tokenizer afterwards."""
    before = _condition(probe.subject)
    bad: list[str] = []
    for name, fault in _FAULTS.items():
        noticed = False
        try:
            fault(probe)
        except (FaultError, IndexError):
            noticed = True
        if not noticed or _condition(probe.subject) != before:
            bad.append(name)
    return CheckResult(
        name="cleanup",
        question="Is everything off the model again after an exception, anywhere?",
        measured=len(bad),
        unit=f"of {len(_FAULTS)} ways to break off leave a trace",
        verdict="FAILED" if bad else "ok",
        meaning=f"Left a trace or no error: {', '.join(bad)}. Load the model anew after any error."
        if bad
        else "After an error or Ctrl-C go on with the same model; no hook stays, nothing of it is changed.",
    )


def _condition(subject: Subject) -> list[object]:
    """Return what must be as before: hooks, replaced functions, mode, weights, tokenizer."""
    modules = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), id(vars(m).get("forward")), m.training)
        for m in subject.model.modules()
    ]
    tokenizer = subject.tokenizer
    texts = (tokenizer.padding_side, tokenizer.pad_token, tokenizer.chat_template, len(tokenizer))
    return [modules, texts, fingerprint(subject.model), torch.is_grad_enabled()]


def _identity(resid: Resid) -> Resid:
    return resid


def _raise(_resid: Resid) -> Resid:
    raise FaultError


def _inside_steered(probe: Probe) -> None:
    with steered(probe.subject, probe.cells[-1].edits):
        raise FaultError


def _inside_edited(probe: Probe) -> None:
    with edited(probe.subject.model, {HookPoint(0): _identity}):
        raise FaultError


def _in_the_middle_of_a_pass(probe: Probe) -> None:
    with edited(probe.subject.model, {HookPoint(0): _identity, HookPoint(probe.n_layers - 1): _raise}):
        logits_of(probe.subject, pad(probe.rows, probe.subject.device))


def _a_layer_that_is_not_there(probe: Probe) -> None:
    with edited(probe.subject.model, {HookPoint(0): _identity, HookPoint(probe.n_layers): _identity}):
        pass


def _while_scoring(probe: Probe) -> None:
    with edited(probe.subject.model, {HookPoint(probe.n_layers - 1): _raise}):
        probe.score()


def _while_generating(probe: Probe) -> None:
    def raise_late(resid: Resid) -> Resid:
        return resid if resid.shape[1] > 1 else _raise(resid)

    with edited(probe.subject.model, {HookPoint(probe.n_layers - 1): raise_late}):
        probe.answer()


def _scores_left_unread(probe: Probe) -> None:
    scores = score_answers(probe.subject, probe.chats, probe.cells, template=probe.template)
    next(scores)
    scores.close()  # type: ignore[attr-defined]
    raise FaultError


_FAULTS: dict[str, Callable[[Probe], None]] = {
    "an error inside `steered`": _inside_steered,
    "an error inside `edited`": _inside_edited,
    "an error in the middle of a pass": _in_the_middle_of_a_pass,
    "a layer that is not there": _a_layer_that_is_not_there,
    "an error while scoring": _while_scoring,
    "an error while generating": _while_generating,
    "scores left unread": _scores_left_unread,
}
