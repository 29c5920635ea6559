"""Run all checks on a subject; one that cannot be finished counts as failed, and the others still run."""

from collections.abc import Callable
from time import perf_counter

import torch
from peft import PeftModel

from activations import Subject
from activations.progress import Progress, silent
from experiments.doctor.effect import decode, exactness, no_op, silence
from experiments.doctor.grids import adapters_base, adapters_mixed, common_random_numbers, sharing
from experiments.doctor.invariance import (
    batch_size_activations,
    batch_size_answers,
    batch_size_scores,
    out_of_memory,
    padding,
    row_isolation,
    row_isolation_answers,
)
from experiments.doctor.leftovers import cleanup
from experiments.doctor.probe import Probe
from experiments.doctor.record import CheckResult, Examination
from experiments.doctor.speed import capture_speed, generation_speed, scoring_speed
from pipeline.provenance import current_facts

Check = Callable[[Probe], CheckResult]

CHECKS: tuple[Check, ...] = (
    no_op,
    cleanup,
    exactness,
    decode,
    silence,
    row_isolation,
    row_isolation_answers,
    padding,
    batch_size_activations,
    batch_size_scores,
    batch_size_answers,
    out_of_memory,
    sharing,
    common_random_numbers,
)
ADAPTER_CHECKS: tuple[Check, ...] = (adapters_base, adapters_mixed)
SPEED: tuple[Check, ...] = (capture_speed, scoring_speed, generation_speed)

_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What somebody else's model may raise; each is a finding."""


def examine(subject: Subject, *, progress: Progress = silent) -> Examination:
    """Check the row engine's guarantees on a subject, and measure its speed.

    Takes about as long as a few hundred short forward passes.

    Args:
        subject: The model, as it will be used: data type, device, adapters.
        progress: Told how many checks are done.
    """
    began = perf_counter()
    probe = Probe.of(subject)
    notes = list(probe.notes)
    checks = list(CHECKS)
    if isinstance(subject.model, PeftModel):
        checks += ADAPTER_CHECKS
    else:
        notes.append("No adapters are loaded, so nothing about adapters was checked.")
    results = []
    with progress("examine", len(checks) + len(SPEED)) as advance:
        for check in [*checks, *SPEED]:
            results.append(_outcome(check, probe))
            advance(1)
    return Examination(
        model=subject.current_facts().as_json(),
        dtype=str(probe.dtype).removeprefix("torch."),
        device=_device(subject.device),
        versions=current_facts("doctor", {}, None).versions,
        template=probe.template,
        notes=tuple(notes),
        seconds=perf_counter() - began,
        results=tuple(results),
    )


def _outcome(check: Check, probe: Probe) -> CheckResult:
    try:
        return check(probe)
    except _BROKEN as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
        return CheckResult(
            name=check.__name__.replace("_", " "),
            question=str(check.__doc__).splitlines()[0],
            measured=None,
            unit="nothing: it could not be finished",
            verdict="FAILED",
            meaning=f"{type(error).__name__}: {text}",
        )


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
