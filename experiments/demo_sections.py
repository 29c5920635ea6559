"""The demo's findings as sections: a sentence with its n, a figure, its numbers, and what limits them."""

from collections.abc import Sequence
from statistics import fmean, median

from experiments.page import Section, Table
from experiments.plots import cosine_figure, random_null_figure, sweep_figure, transfer_figure
from experiments.plots.style import label, number, p_value
from experiments.summary import BaselineRow, DemoSummary, SweepRow, TransferRow

UNKNOWN = "How the interval was computed is not in the records."


def demo_sections(summary: DemoSummary) -> tuple[Section, ...]:
    """Return the sections in the order of the argument: alike, where to steer, transfer, chance."""
    return (_cosines(summary), _sweep(summary), _transfer(summary), _chance(summary))


def interval(low: float | None, high: float | None) -> str:
    """Return an interval as text; a dash if it was not computed."""
    return number(None) if low is None or high is None else f"{number(low)} to {number(high)}"


def _cosines(summary: DemoSummary) -> Section:
    cosines, floor = summary.cosines, summary.cosines.floor
    pairs = [row for row in cosines.rows if row.a != row.b]
    values = [row.cosine for row in pairs]
    alike = _of(sum(abs(value) > floor.random_95 for value in values), len(values))
    shows = (
        f"{alike} pairs of directions are more alike than 95 % of random directions; "
        f"the median cosine is {number(median(values))} "
        f"(from {number(min(values))} to {number(max(values))})."
    )
    rows = [(label(r.a), label(r.b), number(r.cosine), number(r.ceiling), str(r.n)) for r in pairs]
    stable = [
        (label(r.domain), number(r.split_half), interval(r.low, r.high), number(r.angle_median, 1), str(r.n))
        for r in summary.reliability
    ]
    shuffled = number(floor.shuffled_95, 3)
    return Section(
        name="cosines",
        title="Do the domains share a direction?",
        shows=shows,
        figure=cosine_figure(cosines),
        reading="Each point is the cosine of two domains' directions. The grey band holds 95 % of random "
        "directions, the dashed lines 95 % of those from shuffled labels; the upright bar is the ceiling "
        "that noise sets.",
        tables=(
            Table(
                caption="Cosine of each pair",
                columns=("one domain", "other domain", "cosine", "ceiling", "n"),
                rows=tuple(rows),
                n_names=2,
            ),
            Table(
                caption="How stable each direction is",
                columns=("domain", "split-half cosine", "95 % interval", "median angle (°)", "n"),
                rows=tuple(stable),
            ),
        ),
        obtained=(
            f"Layer {cosines.layer}; extract split, {summary.split['extract']} triples a domain.",
            f"Floor: {number(floor.random_95, 3)} for random directions, {shuffled} for shuffled labels, "
            f"{floor.n_draws} draws each.",
            *_methods(summary, "cosines", "reliability"),
        ),
        caveats=(
            "A cosine cannot pass its ceiling: with this noise two equal directions would show no more.",
            "Alike is not the same as acting alike; whether a direction acts elsewhere is tested below.",
        ),
    )


def _sweep(summary: DemoSummary) -> Section:
    chosen = summary.chosen
    at_chosen = [r for r in summary.sweep if (r.layer, r.coefficient) == (chosen.layer, chosen.coefficient)]
    place = f"layer {chosen.layer}, coefficient {number(chosen.coefficient, sign=True)} ({chosen.unit})"
    shift = number(fmean(row.mean for row in at_chosen), sign=True) if at_chosen else number(None)
    rows = [
        (label(r.domain), str(r.layer), number(r.coefficient, sign=True), *_shift(r), str(r.n))
        for r in summary.sweep
    ]
    columns = ("domain", "layer", "coefficient", "shift", "95 % interval", "n")
    return Section(
        name="sweep",
        title="Where and how strongly to steer",
        shows=f"Chosen on the dev split: {place}, where a domain's own direction shifts its propensity "
        f"by {shift} nats per token on average over {len(at_chosen)} domains.",
        figure=sweep_figure(summary.sweep, chosen),
        reading="Shift of propensity over layers, a panel for each domain and a line for each coefficient; "
        "bands are 95 % intervals and the ring marks the chosen layer and coefficient.",
        tables=(Table(caption="Every layer and coefficient", columns=columns, rows=tuple(rows)),),
        obtained=(
            f"Propensity is log p(misaligned answer) minus log p(aligned answer), in nats per token; "
            f"{summary.split['dev']} triples a domain.",
            *_methods(summary, "sweep"),
        ),
        caveats=(
            "These questions made the choice, so their shifts are optimistic; the test split took no part.",
        ),
    )


def _transfer(summary: DemoSummary) -> Section:
    own = [row for row in summary.transfer if row.source == row.target]
    foreign = [row for row in summary.transfer if row.source != row.target]
    rows = [
        (label(r.source), label(r.target), *_shift(r), p_value(r.p), p_value(r.p_holm), str(r.n))
        for r in summary.transfer
    ]
    base = [(label(r.domain), *_shift(r), str(r.n)) for r in summary.baseline]
    return Section(
        name="transfer",
        title="Does a direction act in other domains?",
        shows=f"On the test split {_effect('own', own)}; {_effect('foreign', foreign)}.",
        figure=transfer_figure(summary.transfer),
        reading="Each cell is the shift of propensity in nats per token on the column's questions under the "
        "row's direction, with its 95 % interval and p; a frame marks a domain's own direction.",
        tables=(
            Table(
                caption="Every direction on every domain",
                columns=(
                    "direction of",
                    "questions from",
                    "shift",
                    "95 % interval",
                    "p",
                    "p (Holm)",
                    "n",
                ),
                rows=tuple(rows),
                n_names=2,
            ),
            Table(
                caption="Untouched model (propensity in nats per token; below 0: prefers the aligned answer)",
                columns=("domain", "propensity", "95 % interval", "n"),
                rows=tuple(base),
            ),
        ),
        obtained=(
            f"Test split, {summary.split['test']} triples a domain; layer and coefficient as chosen above.",
            "p: share of random directions of the same norm that shift at least as far.",
            *_methods(summary, "transfer", "baseline"),
        ),
        caveats=(
            f"p cannot fall below {_smallest_p(summary.transfer)}: there are only so many random directions.",
        ),
    )


def _chance(summary: DemoSummary) -> Section:
    own = {row.target: row for row in summary.transfer if row.source == row.target}
    outside = sum(_outside(row) for row in own.values())
    rows = [
        (
            label(t),
            *_shift(r),
            number(r.random_mean, sign=True),
            interval(r.random_low, r.random_high),
            str(r.n_random),
        )
        for t, r in own.items()
    ]
    return Section(
        name="chance",
        title="Compared with random directions",
        shows=f"In {_of(outside, len(own))} domains the own direction shifts propensity beyond the middle "
        f"95 % of random directions of the same norm ({_draws(summary.transfer)} draws a domain).",
        figure=random_null_figure(summary.transfer, summary.random),
        reading="Grey dots are random directions, coloured points the domains' directions with their 95 % "
        "intervals; the target's own direction is ringed.",
        tables=(
            Table(
                caption="Own direction and random directions",
                columns=(
                    "domain",
                    "own shift",
                    "95 % interval",
                    "random mean",
                    "random, middle 95 %",
                    "draws",
                ),
                rows=tuple(rows),
            ),
        ),
        obtained=(
            "Random directions have the norm of the direction they are compared with.",
            *_methods(summary, "random"),
        ),
        caveats=(
            "Random directions are weak opponents; shuffled labels, in the first figure, are stronger ones.",
        ),
    )


def _effect(whose: str, rows: Sequence[TransferRow]) -> str:
    if not rows:
        return f"no {whose} direction was tried"
    sure = sum(_adjusted(row) < 0.05 for row in rows)
    n = sorted({row.n for row in rows})
    questions = str(n[0]) if len(n) == 1 else f"{n[0]} to {n[-1]}"
    mean = number(fmean(row.mean for row in rows), sign=True)
    return (
        f"{whose} directions shift propensity by {mean} nats per token on average "
        f"({_of(sure, len(rows))} with p < 0.05; n = {questions} questions each)"
    )


def _shift(row: SweepRow | BaselineRow | TransferRow) -> tuple[str, str]:
    return number(row.mean, sign=True), interval(row.low, row.high)


def _adjusted(row: TransferRow) -> float:
    p = row.p if row.p_holm is None else row.p_holm
    return 1.0 if p is None else p


def _outside(row: TransferRow) -> bool:
    if row.random_low is None or row.random_high is None:
        return False
    return not row.random_low <= row.mean <= row.random_high


def _smallest_p(rows: Sequence[TransferRow]) -> str:
    return p_value(1 / (1 + max((row.n_random for row in rows), default=0)))


def _draws(rows: Sequence[TransferRow]) -> str:
    draws = sorted({row.n_random for row in rows})
    return str(draws[0]) if len(draws) == 1 else f"{draws[0]} to {draws[-1]}"


def _of(count: int, total: int) -> str:
    return f"{count} of {total}"


def _methods(summary: DemoSummary, *sections: str) -> tuple[str, ...]:
    found = tuple(summary.methods[section] for section in sections if section in summary.methods)
    return found or (UNKNOWN,)
