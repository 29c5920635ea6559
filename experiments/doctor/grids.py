"""Checks of what a grid shares: computations, random numbers, and the base model under adapters."""

from contextlib import AbstractContextManager, nullcontext

import torch
from peft import PeftModel
from torch import nn

from activations.encode import pad
from activations.fingerprint import active_adapters
from experiments.doctor.invariance import NATS
from experiments.doctor.passes import answer_log_probs, logits_of
from experiments.doctor.probe import Probe, largest_difference
from experiments.doctor.record import CheckResult, Meaning, Verdict, finite, graded, verdict_on
from steering import UNEDITED, Sampling
from steering.adapters import BASE, adapters_by_row, require_adapters
from steering.score import Share

SAMPLES = 2


def sharing(probe: Probe) -> CheckResult:
    """Compare scores with shared prompts and depth with scores where every row is run in full."""
    return graded(
        "sharing",
        "Are log-probs the same with shared prompt and depth as with every row computed in full?",
        largest_difference(probe.scores, probe.score(share=Share(prompt=False, depth=False))),
        NATS,
        noise=probe.noise.log_probs,
        meaning=Meaning(
            ok="The fast way gives the numbers of the slow one.",
            differs="Rounding differs between the two ways; stay with one of them within a study.",
            failed="Sharing changes numbers: pass share=Share(prompt=False, depth=False).",
        ),
    )


def common_random_numbers(probe: Probe) -> CheckResult:
    """Compare sampled answers of the unedited cell inside a grid with those of a run of its own."""
    sampling = Sampling(temperature=1.0, seed=1)
    plain, grid = (
        {
            (answer.row, answer.sample): answer.ids
            for answer in probe.generated(cells, sampling=sampling, samples=SAMPLES)
            if answer.cell == 0
        }
        for cells in ([UNEDITED], probe.cells)
    )
    same = sum(plain[place] == grid[place] for place in plain)
    verdict: Verdict = "ok"
    meaning = "Cells draw from the same luck: a difference in text is due to the edit."
    if same < len(plain):
        verdict = "differs by" if probe.noise.log_probs > 0 else "FAILED"
        meaning = (
            "Rounding turns some draws; the rest draws alike."
            if verdict != "FAILED"
            else ("The unedited text depends on the grid around it: differences between cells may be luck.")
        )
    return CheckResult(
        name="common random numbers",
        question="Is sampled text of the unedited condition the same inside a grid as in a run of its own?",
        measured=100 * same / len(plain),
        unit=f"% of {len(plain)} texts identical",
        verdict=verdict,
        meaning=meaning,
    )


def adapters_base(probe: Probe) -> CheckResult:
    """Compare base rows beside adapted ones with the model whose adapters are disabled, bit by bit."""
    model = _with_adapters(probe.subject.model)
    batch = pad(probe.rows, probe.subject.device)
    names = [
        BASE if i % 2 == 0 else name for i, name in zip(range(len(probe.rows)), _cycle(model), strict=False)
    ]
    base = [i for i, name in enumerate(names) if name == BASE]
    require_adapters(model, names)
    with adapters_by_row(model, names):
        mixed = logits_of(probe.subject, batch)[base]
    with model.disable_adapter():
        bare = logits_of(probe.subject, batch)[base]
    difference = float((mixed.float() - bare.float()).abs().max())
    verdict = verdict_on(difference, probe.noise.log_probs) if difference else "ok"
    if difference and verdict == "ok":
        verdict = "differs by"
    meanings = {
        "ok": "Bit for bit the base model: no second model is needed for comparisons.",
        "differs by": "Not bit for bit, but within rounding.",
        "FAILED": "Adapters leak into base rows: load the base model separately.",
    }
    return CheckResult(
        name="adapters, base rows",
        question="Beside adapted rows in one batch, are base rows the model with its adapters disabled?",
        measured=finite(difference),
        unit="largest difference of a logit",
        verdict=verdict,
        meaning=meanings[verdict],
    )


def adapters_mixed(probe: Probe) -> CheckResult:
    """Compare rows of a batch with several adapters with each row alone under its adapter."""
    model, subject = _with_adapters(probe.subject.model), probe.subject
    names = [name for name, _ in zip(_cycle(model), probe.rows, strict=False)]
    require_adapters(model, names)
    batch = pad(probe.rows, subject.device)
    with adapters_by_row(model, names):
        together = logits_of(subject, batch)
    differences = []
    for i, (row, name) in enumerate(zip(probe.rows, names, strict=True)):
        alone = pad([row], subject.device)
        with _serving(model, name):
            own = answer_log_probs(logits_of(subject, alone)[0], row)
        differences.append((answer_log_probs(together[i], row, batch.start(i)) - own).abs().max())
    return graded(
        "adapters, mixed batch",
        "Does each row of a batch with several adapters give what it gives alone under its own adapter?",
        float(torch.stack(differences).max()),
        NATS,
        noise=probe.noise.log_probs,
        meaning=Meaning(
            ok="Base and tuned rows may share a batch.",
            differs="Rounding, as between batch sizes.",
            failed="Rows get the wrong adapter: run one adapter at a time.",
        ),
    )


def _with_adapters(model: nn.Module) -> PeftModel:
    if not isinstance(model, PeftModel):
        raise LookupError("the model has no adapters")
    return model


def _cycle(model: PeftModel) -> list[str]:
    """Return the model's adapters and `base`, over and over."""
    return [*list(model.peft_config), BASE] * 8


def _serving(model: PeftModel, name: str) -> AbstractContextManager[None]:
    """Serve one adapter to a row alone, by PEFT's own switches where the model already stands so."""
    if name == BASE:
        return model.disable_adapter()  # type: ignore[no-any-return]
    if active_adapters(model) == (name,):
        return nullcontext()
    return adapters_by_row(model, [name])
