"""Figures: what they draw, that they can be read, and that they are the same on every run."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations

import matplotlib as mpl
import pytest
from demo_records import CHOSEN, COEFFICIENTS, DOMAINS, cosines, sweep, transfer
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from PIL import Image

from experiments.plots import cosine_figure, random_null_figure, sweep_figure, transfer_figure, write_figure
from experiments.plots.style import (
    PALETTE,
    errors,
    figure_bytes,
    label,
    number,
    p_value,
    series_style,
    wrapped,
)
from experiments.summary import RandomRow

DRAWS = tuple(RandomRow(target=target, draw=i, mean=0.01 * i) for target in DOMAINS for i in range(20))
FIGURES = {
    "cosines": lambda: cosine_figure(cosines(DOMAINS[:2])),
    "sweep": lambda: sweep_figure(sweep(DOMAINS[:2]), CHOSEN),
    "transfer": lambda: transfer_figure(transfer(DOMAINS[:2])),
    "chance": lambda: random_null_figure(transfer(DOMAINS[:2]), DRAWS),
}


def texts(figure):
    """Return every text of a figure, as its SVG holds them."""
    root = ET.fromstring(figure_bytes(figure, "svg", "x"))
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def seen_without_red_or_green(colour):
    """Return a colour as a dichromat sees it, in linear light (Viénot et al. 1999, deuteranopia)."""
    red, green, blue = ((c + 0.055) / 1.055 if c > 0.04045 else c / 12.92 for c in to_rgb(colour))
    red, green, blue = red**2.4, green**2.4, blue**2.4
    return 0.29275 * red + 0.70725 * green, -0.02234 * red + 0.02234 * green + blue


def test_the_cosine_figure_names_every_pair_with_its_floor_and_ceiling():
    shown = texts(cosine_figure(cosines()))
    assert sum(" · " in text for text in shown) == len(list(combinations(DOMAINS, 2)))
    assert "95 % of random directions" in shown
    assert "95 % of shuffled labels" in shown
    assert "ceiling set by noise" in shown
    assert "cosine of the two directions at layer 15" in shown


def test_a_pair_of_one_domain_with_itself_is_not_drawn_and_missing_bounds_are_left_out():
    first = replace(cosines().rows[0], ceiling=None)
    alone = replace(first, b=first.a)
    floor = replace(cosines().floor, shuffled_95=None)
    shown = texts(cosine_figure(replace(cosines(), rows=(first, alone), floor=floor)))
    assert sum(" · " in text for text in shown) == 1
    assert not {"95 % of shuffled labels", "ceiling set by noise"} & set(shown)
    with pytest.raises(ValueError, match="cosines: got no pair of two domains, need at least 1"):
        cosine_figure(replace(cosines(), rows=(alone,)))


def test_the_sweep_figure_has_a_panel_a_domain_a_line_a_coefficient_and_marks_the_choice():
    figure = sweep_figure(sweep(), CHOSEN)
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in panels] == [label(domain) for domain in DOMAINS]
    for axis, domain in zip(panels, DOMAINS, strict=True):
        _, names = axis.get_legend_handles_labels()
        assert len(names) == len(COEFFICIENTS) + 1
        assert names[-1] == "chosen"
        (row,) = [r for r in sweep() if (r.domain, r.layer, r.coefficient) == (domain, 15, 1.0)]
        ring = axis.collections[-1].get_offsets()
        assert ring.tolist() == [[15, row.mean]]
    assert len({axis.get_ylim() for axis in panels}) == 1


def test_a_sweep_without_intervals_has_no_bands():
    rows = [replace(row, low=None, high=None) for row in sweep()]
    assert len(sweep_figure(rows, CHOSEN).axes[0].collections) == 1  # the ring


def test_the_transfer_figure_writes_shift_interval_and_p_into_each_cell_and_frames_the_diagonal():
    figure = transfer_figure(transfer())
    shown = texts(figure)
    for row in transfer():
        assert number(row.mean, sign=True) in shown
        assert f"{number(row.low)} to {number(row.high)}" in shown
    assert shown.count("p = 0.040") == sum(row.p_holm == 0.04 for row in transfer())
    frames = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
    centres = sorted((round(frame.get_x() + 0.47), round(frame.get_y() + 0.47)) for frame in frames)
    assert centres == [(i, i) for i in range(len(DOMAINS))]


def test_text_in_every_cell_of_the_transfer_figure_can_be_read():
    axis = transfer_figure(transfer()).axes[0]
    cells = {(round(p.get_x() + 0.47), round(p.get_y() + 0.47)): p for p in axis.patches if p.get_fill()}
    for text in axis.texts:
        x, y = text.get_position()
        pair = sorted([luminance(text.get_color()), luminance(cells[round(x), round(y)].get_facecolor()[:3])])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_the_null_figure_shows_every_draw_and_every_direction():
    figure = random_null_figure(transfer(), DRAWS)
    axis = figure.axes[0]
    points = [len(found.get_offsets()) for found in axis.collections if isinstance(found, PathCollection)]
    assert points.count(20) == len(DOMAINS)  # random directions
    assert points.count(1) == len(DOMAINS)  # rings
    assert len(axis.containers) == len(transfer())
    assert {label(domain) for domain in DOMAINS} <= set(texts(figure))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_written_the_same_every_time_and_holds_no_date_or_version(tmp_path, name):
    (tmp_path / "again").mkdir()
    png, svg = write_figure(FIGURES[name](), tmp_path, name)
    for path, again in zip((png, svg), write_figure(FIGURES[name](), tmp_path / "again", name), strict=True):
        assert path.read_bytes() == again.read_bytes()
    with Image.open(png) as image:
        assert image.info.keys() == {"dpi"}
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert "metadata" not in svg.read_text()
    assert mpl.__version__ not in svg.read_text()


def test_drawing_leaves_global_settings_alone():
    before = dict(mpl.rcParams)
    figure_bytes(FIGURES["transfer"](), "svg", "x")
    assert dict(mpl.rcParams) == before


def test_names_from_data_are_shown_as_they_are():
    odd = "a<b>&$x^2$"
    rows = [replace(row, source=odd) for row in transfer() if row.source == DOMAINS[0]]
    assert odd in texts(transfer_figure(rows))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: sweep_figure((), CHOSEN), "sweep: got no rows"),
        (lambda: transfer_figure(()), "transfer: got no rows"),
        (lambda: random_null_figure((), ()), "transfer: got no rows"),
    ],
)
def test_nothing_to_draw_is_an_error(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize("kind", ["many domains", "one domain"])
def test_other_numbers_of_domains_are_drawn_too(kind):
    domains = tuple(f"domain_{i}" for i in range(11)) if kind == "many domains" else ("domain_0",)
    panels = sweep_figure(sweep(domains), CHOSEN).axes
    assert sum(axis.get_visible() for axis in panels) == len(domains)
    assert len(transfer_figure(transfer(domains)).axes[0].get_xticklabels()) == len(domains)
    assert len(random_null_figure(transfer(domains), ()).axes[0].containers) == len(domains) ** 2


def test_the_palette_can_be_seen_on_white_and_black_and_told_apart_without_red_and_green():
    for colour in PALETTE:
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / (luminance("#12161b") + 0.05) >= 3
    for one, other in combinations(map(seen_without_red_or_green, PALETTE), 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.03
    assert len({tuple(series_style(i).values()) for i in range(60)}) == 60


def test_numbers_are_written_as_in_print():
    assert [number(-0.123), number(0.5, sign=True), number(-0.001, sign=True), number(None)] == [
        "\u22120.12", "+0.50", "0.00", "\u2013",
    ]  # fmt: skip
    assert [p_value(0.0001), p_value(0.0123), p_value(0.5), p_value(None)] == [
        "< 0.001",
        "0.012",
        "0.50",
        "\u2013",
    ]
    assert errors(1.0, 0.8, None) is None
    assert errors(1.0, 1.1, 1.5) == [[0.0], [0.5]]
    assert re.fullmatch(r"bad medical\nadvice", wrapped("bad_medical_advice"))
