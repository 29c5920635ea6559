"""The parts a report is made of: sections with figure and tables, escaped text, files, one whole page.

Does not: know any study. A study makes `Section`s from its records and renders its template with them.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from experiments.plots.style import FAINT, GRID, INK, PALETTE
from pipeline.disk import readable

LONGEST_TEXT = 6000
"""Characters of one text that a page shows; the records keep the rest."""

FOLD_FROM = 13
"""Tables with at least so many rows are folded."""

_THEME = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)"} | {
    colour: f"var(--series-{i})" for i, colour in enumerate(PALETTE, start=1)
}
_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Attributes:
        caption: What it holds.
        columns: Headings.
        rows: Cells, as many in each row as there are headings.
        n_names: How many columns from the left are names; the others are numbers, set flush right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_names: int = 1

    @property
    def folded(self) -> bool:
        """Whether the page shows it only on request."""
        return len(self.rows) >= FOLD_FROM


@dataclass(frozen=True, kw_only=True, eq=False)
class Section:
    """One finding.

    Attributes:
        name: Anchor on the page and file name of the figure; letters and `-`.
        title: Heading.
        shows: What the figure shows, in one sentence with n.
        figure: The figure.
        reading: How to read the figure; also its text for people who do not see it.
        tables: The numbers.
        obtained: How they were obtained, a sentence each.
        caveats: What limits them, a sentence each.
    """

    name: str
    title: str
    shows: str
    figure: Figure
    reading: str
    tables: tuple[Table, ...]
    obtained: tuple[str, ...]
    caveats: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of a run folder: its path inside the folder, its size and, for JSONL, its number of rows."""

    path: str
    size: str
    n_rows: int | None


def render(template: str, context: Mapping[str, object]) -> bytes:
    """Return a page in UTF-8. Everything in the context is escaped, except `Markup` made by this package.

    Raises:
        jinja2.UndefinedError: The template names something that the context lacks.
    """
    environment = Environment(
        loader=PackageLoader("experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
    )
    return environment.get_template(template).render(**context).encode()


def visible(text: str) -> str:
    """Return text as a page may show it: shortened, and with signs that hide or reorder text written out.

    Control characters, half surrogate pairs and bidirectional overrides become `⟦U+202E⟧`; `Markup` passes.
    """
    if isinstance(text, Markup):
        return text
    shown = "".join(map(_shown, text[:LONGEST_TEXT]))
    cut = len(text) - LONGEST_TEXT
    return f"{shown} ⟦{cut:,} more characters are in the records⟧" if cut > 0 else shown


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    hidden = category in ("Cc", "Cs") or unicodedata.bidirectional(character) in _BIDI
    return f"⟦U+{ord(character):04X}⟧" if hidden and character not in "\n\t" else character


def inline_svg(section: Section, file: Path) -> Markup:
    """Return a section's figure as an SVG element: no ids that clash, colours from the page's theme.

    Args:
        section: The section; its `reading` becomes the text for people who do not see the figure.
        file: The SVG that `write_figure` wrote of its figure.
    """
    svg = Path(file).read_text("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>|<metadata.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    width, height = section.figure.get_size_inches() * 96
    opening = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" style="max-width: {}px" ').format(
        section.reading, f"{width * 0.75:g}", f"{height * 0.75:g}", f"{width:.0f}"
    )
    xmlns = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">'
    return opening + Markup(xmlns + svg[svg.index(">") + 1 :])  # noqa: S704 - made by matplotlib, which escapes


def run_files(folder: Path) -> tuple[FileEntry, ...]:
    """Return the files of a run folder and its subfolders by name, without hidden ones and the report."""
    paths = sorted(
        path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")
    )
    return tuple(
        FileEntry(
            path=path.relative_to(folder).as_posix(),
            size=readable(path.stat().st_size),
            n_rows=path.read_bytes().count(b"\n") if path.suffix == ".jsonl" else None,
        )
        for path in paths
        if path.name != "report.html"
    )


def duration(seconds: float) -> str:
    """Return a time as a person says it: 171.4 -> `2 min 51 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
