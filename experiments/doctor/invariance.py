"""Checks that a row's result is its own: whatever stands beside it, however rows are padded and batched."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from activations import All, HookPoint, Subject, collect, edited
from activations.hooks import Resid
from experiments.doctor.passes import relative_difference, token_resids
from experiments.doctor.probe import Probe, largest_difference
from experiments.doctor.record import CheckResult, Meaning, graded

NATS = "nats (largest difference)"
NORM = "of the residual's norm (largest difference)"


def row_isolation(probe: Probe) -> CheckResult:
    """Compare each row of a mixed grid with a plain pass of that row alone."""
    return graded(
        "row isolation, log-probs",
        f"Does a row of a mixed grid ({_size(probe)}) get the log-probs of a plain pass of that row alone?",
        largest_difference(probe.scores, probe.scores_alone),
        NATS,
        noise=probe.noise.log_probs,
        meaning=Meaning(
            ok="A number belongs to its row alone; put any conditions side by side.",
            differs="Rounding reaches the log-probs: effects of this size or less mean nothing.",
            failed="Rows change each other here, or the grid is not what a plain pass gives: do not use it.",
        ),
    )


def row_isolation_answers(probe: Probe) -> CheckResult:
    """Compare the greedy answers of a mixed grid with what each row gives alone."""
    gaps = [probe.shortfall(probe.cells[c], k, answer.ids) for (c, k), answer in probe.answers.items()]
    return _greedy(
        probe,
        "row isolation, greedy answers",
        f"Does a row of a mixed grid ({_size(probe)}) give the greedy tokens of that row alone?",
        [gap == 0 for gap in gaps],
        max(gaps),
    )


def padding(probe: Probe) -> CheckResult:
    """Compare the residual stream of every token under left and right padding, at every layer."""
    points = [HookPoint(layer) for layer in range(probe.n_layers)]
    left, right = (token_resids(probe.subject, probe.rows, points, side) for side in ("left", "right"))
    layers = relative_difference(left, right).max(dim=-1).values
    return graded(
        "padding",
        "Do left and right padding give the same activations (every layer and token, position 0 left out)?",
        float(layers.max()),
        NORM,
        noise=probe.noise.residual,
        meaning=Meaning(
            ok="The padding side plays no part.",
            differs=f"Rounding, largest after block {int(layers.argmax())}: activations agree to this share.",
            failed=f"Pads leak into tokens, worst after block {int(layers.argmax())}: run rows one at a time.",
        ),
    )


def batch_size_activations(probe: Probe) -> CheckResult:
    """Compare captured activations of rows run together with those of rows run one at a time."""
    settings = {"template": probe.template}
    together = collect(probe.subject, probe.chats, All(), **settings)  # type: ignore[arg-type]
    apart = collect(probe.subject, probe.chats, All(), max_tokens=1, **settings)  # type: ignore[arg-type]
    moved = (together.values - apart.values).norm(dim=-1) / apart.norms
    return graded(
        "batch size, activations",
        "Does `collect` give the same with one row at a time as with all rows in one batch?",
        float(moved.max()),
        NORM,
        noise=probe.noise.residual,
        meaning=Meaning(
            ok="The batch size may change with the machine's memory; activations do not.",
            differs="Rounding: activations of two machines or batch sizes agree to this share, no better.",
            failed="Activations depend on the batch they were read in: do not compare them.",
        ),
    )


def batch_size_scores(probe: Probe) -> CheckResult:
    """Compare log-probs of rows scored together with those of rows scored one at a time."""
    return graded(
        "batch size, log-probs",
        "Does `score_answers` give the same with one row at a time as with all rows in one batch?",
        largest_difference(probe.scores, probe.score(max_tokens=1)),
        NATS,
        noise=probe.noise.log_probs,
        meaning=Meaning(
            ok="A split batch, or one halved for lack of memory, changes no number.",
            differs="Rounding: two batch sizes differ this much at a token; smaller effects mean nothing.",
            failed="Log-probs depend on the batch size: do not compare runs.",
        ),
    )


def batch_size_answers(probe: Probe) -> CheckResult:
    """Compare greedy answers of rows decoded together with those of rows decoded one at a time."""
    cells = [probe.cells[0], probe.cells[-1]]
    together, apart = probe.answer(cells), probe.answer(cells, max_rows=1)
    unlike = [place for place in together if together[place].ids != apart[place].ids]
    gaps = [probe.shortfall(cells[c], k, some[c, k].ids) for c, k in unlike for some in (together, apart)]
    return _greedy(
        probe,
        "batch size, greedy answers",
        "Does `generate` give the same greedy tokens with one row at a time as with all rows in one batch?",
        [place not in unlike for place in together],
        max(gaps, default=0.0),
    )


def out_of_memory(probe: Probe) -> CheckResult:
    """Let memory run out in the middle of the model, and compare the scores of the smaller batches after it."""
    probe.cells  # noqa: B018  # made before memory is short
    with _memory_for(probe.subject, n_rows=2):
        retried = probe.score()
    return graded(
        "out of memory",
        "When memory runs out and batches are halved (here simulated), do all rows come, with the same numbers?",
        largest_difference(probe.scores, retried) if set(retried) == set(probe.scores) else float("nan"),
        NATS,
        noise=probe.noise.log_probs,
        meaning=Meaning(
            ok="Running out of memory costs time, not rows and not numbers.",
            differs="All rows come; rounding differs as between batch sizes.",
            failed="Rows are lost or changed: choose max_tokens so that memory suffices.",
        ),
    )


def _greedy(probe: Probe, name: str, question: str, same: Sequence[bool], gap: float) -> CheckResult:
    """Judge answers that differ by how far from a tie their tokens are; report the share that is the same."""
    share = sum(same) / len(same)
    graded_gap = graded(
        name,
        question,
        gap,
        "nats",
        noise=probe.noise.log_probs,
        meaning=Meaning(
            ok="Greedy answers can be repeated token by token."
            if share == 1
            else f"Where answers differ, two tokens are tied within {gap:.1g} nats.",
            differs=f"Where answers differ, two tokens are within {gap:.2g} nats: near-ties, decided by rounding.",
            failed=f"A token was chosen that is {gap:.2g} nats below the best: not a tie, the answers are wrong.",
        ),
    )
    return CheckResult(
        name=name,
        question=question,
        measured=100 * share,
        unit=f"% of {len(same)} answers identical",
        verdict=graded_gap.verdict,
        meaning=graded_gap.meaning,
    )


def _size(probe: Probe) -> str:
    return f"{len(probe.cells)} conditions x {len(probe.chats)} prompts"


@contextmanager
def _memory_for(subject: Subject, n_rows: int) -> Iterator[None]:
    """Run out of memory in the middle of the model when a pass has more rows; keep quiet about it."""

    def check(resid: Resid) -> Resid:
        if len(resid) > n_rows:
            raise torch.OutOfMemoryError("simulated by the doctor")
        return resid

    log = logging.getLogger("activations.batches")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with edited(subject.model, {HookPoint(subject.facts.n_layers // 2): check}):
            yield
    finally:
        log.setLevel(level)
