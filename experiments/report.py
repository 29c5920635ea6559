"""Turn a run folder into one self-contained page, from its records only; no model, no network, no script."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from experiments.demo_sections import demo_sections
from experiments.page import Section, duration, inline_svg, render, run_files
from experiments.plots import write_figure
from experiments.plots.style import number
from experiments.summary import DEMO_FORMAT, DemoSummary, read_demo_summary
from experiments.sweep_sections import sweep_sections
from experiments.sweep_summary import SWEEP_FORMAT, SweepSummary, read_sweep_summary
from pipeline.disk import replace_file
from pipeline.json_text import Json, parse_json
from pipeline.provenance import RunFacts
from pipeline.runs import read_facts


def write_report(folder: Path) -> Path:
    """Write `report.html` and `figures/` into a run folder, from its `run.json` and `summary.json`.

    Call it after the run has ended, so that the page can say how. The page escapes all text, holds its
    figures, and loads nothing; the same records give the same bytes.

    Args:
        folder: A run folder with a `summary.json`.

    Returns:
        The path of the report.

    Raises:
        FileNotFoundError: The folder lacks `run.json` or `summary.json`.
        ValueError: One of them is damaged, or of a format that has no report; lists those that have.
        OSError: The folder is read-only or full; an older report is as it was.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    path = folder / "summary.json"
    found = parse_json(path.read_bytes(), str(path))
    kind = found.get("format") if isinstance(found, dict) else None
    if kind not in REPORTS:
        raise ValueError(f"{path}: format {kind!r} has no report; have {', '.join(map(repr, REPORTS))}")
    page = REPORTS[kind](folder, facts)
    replace_file(folder / "report.html", page)
    return folder / "report.html"


def demo_page(folder: Path, facts: RunFacts) -> bytes:
    """Return the page of a demo and write its figures.

    Args:
        folder: The run folder.
        facts: What its `run.json` holds.
    """
    summary = read_demo_summary(folder / "summary.json")
    sections = demo_sections(summary)
    return render(
        "demo.html",
        {
            **_common(folder, facts, summary, sections),
            "extras": (("answers", "Example answers"),),
            "chips": (
                ("model", summary.subject.get("name", "")),
                ("domains", len(summary.domains)),
                ("triples a domain", sum(summary.split.values())),
                ("steered at", f"layer {summary.chosen.layer}"),
                ("coefficient", number(summary.chosen.coefficient, sign=True)),
                ("took", duration(summary.seconds)),
            ),
        },
    )


def sweep_page(folder: Path, facts: RunFacts) -> bytes:
    """Return the page of a sweep and write its figures.

    Args:
        folder: The run folder.
        facts: What its `run.json` holds.
    """
    summary = read_sweep_summary(folder / "summary.json")
    sections = sweep_sections(summary)
    return render(
        "sweep.html",
        {
            **_common(folder, facts, summary, sections),
            "extras": (("answers", "Example answers"),) if summary.answers else (),
            "chips": (
                ("model", summary.subject.get("name", "")),
                ("measured by", summary.by),
                ("cells", summary.chosen.n_cells),
                ("chosen", f"layer {summary.chosen.layer}, {number(summary.chosen.coefficient, sign=True)}"),
                ("test triples", summary.test.rows[0].n),
                ("took", duration(summary.seconds)),
            ),
        },
    )


def facts_of(facts: RunFacts, subject: dict[str, Json]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the facts of a run in groups of names and values, as a page lists them.

    Args:
        facts: What `run.json` holds.
        subject: The fields of `SubjectFacts`.
    """
    code = "not from a git checkout" if facts.commit is None else facts.commit
    state = {True: "with uncommitted changes", False: "clean", None: ""}[facts.dirty]
    run = [
        ("command", facts.verb),
        ("ended as", facts.status if facts.error is None else f"{facts.status} ({facts.error})"),
        ("seed", _text(facts.seed)),
        ("started (UTC)", facts.started),
        ("ended (UTC)", facts.ended or "not recorded"),
        *((f"resumed {r.at}", "; ".join(r.changed) or "nothing changed") for r in facts.resumed),
    ]
    machine = [("python", facts.python), ("platform", facts.platform), ("torch threads", str(facts.threads))]
    return [
        ("Model", [(name, _text(value)) for name, value in subject.items()]),
        ("Run", run),
        ("Code", [("commit", f"{code} {state}".strip()), *facts.versions.items()]),
        ("Machine", machine),
    ]


def _common(
    folder: Path, facts: RunFacts, summary: DemoSummary | SweepSummary, sections: Sequence[Section]
) -> dict[str, Any]:
    """Return what every study's page shows, whatever its question; writes the figures, so that they are listed."""
    drawings = _drawings(folder, sections)
    return {
        "summary": summary,
        "sections": sections,
        "drawings": drawings,
        "facts": facts_of(facts, summary.subject),
        "settings": [(name, _text(value)) for name, value in facts.config.items()],
        "timings": _shares(summary.timings),
        "files": run_files(folder),
        "number": number,
    }


def _drawings(folder: Path, sections: Sequence[Section]) -> dict[str, Markup]:
    """Write the sections' figures and return them as parts of a page."""
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    svgs = {section.name: write_figure(section.figure, figures, section.name)[1] for section in sections}
    return {section.name: inline_svg(section, svgs[section.name]) for section in sections}


def _shares(timings: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Return each stage with its time in words and its share in percent."""
    total = sum(timings.values()) or 1.0
    return [(stage, duration(seconds), 100 * seconds / total) for stage, seconds in timings.items()]


def _text(value: Json) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return str(value)


REPORTS: dict[str, Callable[[Path, RunFacts], bytes]] = {
    DEMO_FORMAT: demo_page,
    SWEEP_FORMAT: sweep_page,
}
"""For each format of `summary.json` the function that makes its page."""
