"""Show an examination as a table that needs no other explanation."""

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from experiments.doctor.record import TOLERANCE, CheckResult, Examination

COLOURS = {"ok": "green", "differs by": "yellow", "FAILED": "bold red", "measured": "cyan"}
VERDICTS = f"""\
ok          the guarantee holds (differences up to {TOLERANCE:g})
differs by  a difference that rounding in this data type explains; keep it in mind
FAILED      the guarantee does not hold on this model
measured    a number that promises nothing"""


def show(examination: Examination, console: Console) -> None:
    """Print the table and a sentence that sums it up."""
    console.print(table(examination))
    for note in examination.notes:
        console.print(escape(note))
    console.print(Text(VERDICTS, style="dim"))
    failed = examination.failed
    if failed:
        console.print(f"[bold red]{len(failed)} guarantees fail:[/bold red] {'; '.join(failed)}")
    else:
        console.print("[bold green]All guarantees hold.[/bold green]")


def table(examination: Examination) -> Table:
    """Return one row for each check: what was checked, what came out, the verdict, what it means."""
    title = (
        f"{examination.model['name']}, {examination.model['n_layers']} layers, {examination.dtype} on "
        f"{examination.device}; {examination.seconds:.0f} s"
    )
    found = Table(title=escape(title), title_justify="left", padding=(0, 1, 1, 0), box=None, expand=True)
    found.add_column("what was checked", ratio=4)
    found.add_column("what came out", ratio=2)
    found.add_column("verdict", no_wrap=True)
    found.add_column("what it means for you", ratio=4)
    for result in examination.results:
        found.add_row(*_row(result))
    return found


def _row(result: CheckResult) -> tuple[RenderableType, ...]:
    checked = Group(Text(result.name, style="bold"), Text(result.question))
    verdict = Text(result.verdict, style=COLOURS[result.verdict])
    return checked, Text(f"{number(result.measured)} {result.unit}".strip()), verdict, Text(result.meaning)


def number(measured: float | None) -> str:
    """Return a number with as many digits as a reader needs; nothing for None."""
    if measured is None:
        return ""
    if measured == int(measured) and abs(measured) < 1e6:
        return str(int(measured))
    return (
        f"{measured:.1e}"
        if abs(measured) < 1e-3
        else f"{measured:.3g}"
        if measured < 100
        else f"{measured:.0f}"
    )
