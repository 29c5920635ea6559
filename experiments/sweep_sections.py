"""A sweep's findings as sections: where it was chosen, how strength acts, and what the test split says."""

from experiments.page import Section, Table
from experiments.plots import controls_figure, dose_figure, heat_map_figure, sweep_figure
from experiments.plots.style import label, number, p_value
from experiments.summary import Chosen, SweepRow
from experiments.sweep_summary import DevRow, DoseRow, HeldOutRow, SweepSummary
from experiments.sweep_words import EFFECTS, breakdown_told


def sweep_sections(summary: SweepSummary) -> tuple[Section, ...]:
    """Return the sections: the test first, since it alone carries the answer, then how it was chosen."""
    return (_test(summary), _heat_map(summary), _curves(summary), _dose(summary))


def _test(summary: SweepSummary) -> Section:
    test, first = summary.test, summary.test.rows[0]
    effect = EFFECTS[summary.by]
    against = f"p = {p_value(test.p_random)} against random directions"
    if test.p_shuffled is not None:
        against += f" and {p_value(test.p_shuffled)} against shuffled labels"
    n_random = sum(control.kind == "random" for control in test.controls)
    columns = ("triples of", "unedited", effect, "95 % interval", "loss", "random, middle 95 %")
    return Section(
        name="test",
        title="Does the chosen direction act on questions that no choice saw?",
        shows=f"On {first.n} test triples the {effect} is {number(first.mean, 3, sign=True)} nats per token "
        f"({_interval(first.low, first.high)}); {against}.",
        figure=controls_figure(test, summary.chosen.direction),
        reading="The diamond is the chosen direction with its 95 % interval over test triples; each grey dot is one "
        "control of the same norm at the same layer and strength.",
        tables=(
            Table(
                caption="The chosen cell on the test split",
                columns=(*columns, "shuffled, middle 95 %", "n"),
                rows=tuple(map(_held_out, test.rows if len(test.rows) > 2 else test.rows[:1])),
            ),
        ),
        obtained=(
            f"Test split, {summary.split['test']} triples a domain; {n_random} random and "
            f"{len(test.controls) - n_random} shuffled directions. No number of the dev split enters.",
            summary.methods["test"],
        ),
        caveats=("Controls share the chosen place: they test the direction, not the layer.",),
    )


def _heat_map(summary: SweepSummary) -> Section:
    chosen = summary.chosen
    return Section(
        name="grid",
        title="Where and how strongly to steer",
        shows=f"Chosen on the dev split: {label(chosen.direction)} at layer {chosen.layer}, "
        f"{number(chosen.coefficient, sign=True)} ({chosen.unit}); {chosen.n_coherent} of {chosen.n_cells} cells keep "
        f"coherence, n = {summary.split['dev']} triples a domain.",
        figure=heat_map_figure(summary.dev, chosen, summary.breakdown),
        reading="Each cell is the effect in nats per token, averaged over domains; × marks a loss of coherence past "
        "the floor, the frame the chosen cell. Dev split.",
        tables=(
            Table(
                caption="Every cell on the dev split",
                columns=(
                    "direction",
                    "triples of",
                    "layer",
                    "coefficient",
                    "effect",
                    "95 % interval",
                    "loss",
                    "n",
                ),
                rows=tuple(_dev(row) for row in summary.dev),
                n_names=2,
            ),
        ),
        obtained=(f"Rule: {chosen.rule}.", summary.methods["grid"]),
        caveats=(
            "These triples made the choice, so their effects are optimistic; the test split took no part.",
        ),
    )


def _curves(summary: SweepSummary) -> Section:
    chosen = summary.chosen
    rows = tuple(
        SweepRow(
            domain=row.domain,
            layer=row.layer,
            coefficient=row.coefficient,
            n=row.n,
            mean=row.mean,
            low=row.low,
            high=row.high,
        )
        for row in summary.dev
        if row.direction == chosen.direction and row.mean is not None
    )
    place = Chosen(layer=chosen.layer, coefficient=chosen.coefficient, unit=chosen.unit)
    figure = sweep_figure(rows, place)
    figure.supylabel(f"{EFFECTS[summary.by]} (nats per token)")
    return Section(
        name="curves",
        title="How the effect changes over layers",
        shows=f"{label(chosen.direction)} over {len(summary.layers)} layers and {len(summary.coefficients)} "
        f"coefficients on the dev split, n = {summary.split['dev']} triples a domain.",
        figure=figure,
        reading="Effect over layers, a panel for each domain and a line for each coefficient; bands are 95 % "
        "intervals and the ring marks the chosen cell. Dev split.",
        tables=(),
        obtained=(summary.methods["grid"],),
        caveats=("Bands are wide at this n; neighbouring layers share most of what they do.",),
    )


def _dose(summary: SweepSummary) -> Section:
    chosen = summary.chosen
    columns = (
        "coefficient",
        "effect",
        "95 % interval",
        "loss",
        "95 % interval of the loss",
        "repetition",
        "n",
    )
    return Section(
        name="dose",
        title="How strength acts, and where coherence breaks down",
        shows=breakdown_told(summary.breakdown),
        figure=dose_figure(summary.dose, summary.breakdown, chosen.coefficient, chosen.unit),
        reading="Effect above, loss of coherence below, over the coefficient, with 95 % bands; dashed: the floor, "
        "dotted: where it is first passed, ring: the chosen coefficient. Dev split.",
        tables=(
            Table(
                caption=f"Dose-response at layer {chosen.layer}, dev split",
                columns=columns,
                rows=tuple(_step(row) for row in summary.dose),
            ),
        ),
        obtained=(summary.methods["dose"],),
        caveats=(
            "Dev split: the layer was chosen on these triples. The breakdown is the smallest strength tried, not a "
            "threshold between two of them.",
        ),
    )


def _held_out(row: HeldOutRow) -> tuple[str, ...]:
    return (
        "all" if row.domain is None else label(row.domain),
        number(row.base),
        number(row.mean, 3, sign=True),
        _interval(row.low, row.high),
        number(row.loss, 3, sign=True),
        _interval(row.random_low, row.random_high),
        _interval(row.shuffled_low, row.shuffled_high),
        str(row.n),
    )


def _dev(row: DevRow) -> tuple[str, ...]:
    where = (label(row.direction), label(row.domain), str(row.layer), number(row.coefficient, sign=True))
    effect = (number(row.mean, 3, sign=True), _interval(row.low, row.high))
    return (*where, *effect, number(row.loss, 3, sign=True), str(row.n))


def _step(row: DoseRow) -> tuple[str, ...]:
    return (
        number(row.coefficient, sign=True),
        number(row.mean, 3, sign=True),
        _interval(row.low, row.high),
        number(row.loss, 3, sign=True),
        _interval(row.loss_low, row.loss_high),
        number(row.repetition, sign=True),
        str(row.n),
    )


def _interval(low: float | None, high: float | None) -> str:
    return number(None) if low is None or high is None else f"{number(low, 3)} to {number(high, 3)}"
