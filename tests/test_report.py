"""Reports: made from records, escaped, self-contained, the same on every run."""

import json
import os
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest
from demo_records import DOMAINS, answers, run_folder, summary
from markupsafe import Markup

from experiments.demo_sections import demo_sections
from experiments.page import LONGEST_TEXT, duration, visible
from experiments.report import facts_of, write_report
from experiments.summary import SteeredAnswer, read_demo_summary
from pipeline.json_text import json_bytes
from pipeline.provenance import Resumption
from pipeline.runs import RunFolder, read_facts

FEW = DOMAINS[:2]
VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = (
    "<script>alert(1)</script>",
    "</div></details><h1>owned</h1>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% for x in y %} {# gone #} ${x} %s {0}",
    "&lt;b&gt; &amp; &#x27;",
    "]]><!-- <style>*{display:none}</style> -->",
    "javascript:alert(1)",
)


class Page(HTMLParser):
    """A page's elements, attributes and visible text; complains about elements that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = run_folder(tmp_path_factory.mktemp("report") / "run", domains=FEW)
    write_report(path)
    return path


@pytest.fixture(scope="module")
def html(folder):
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def rewritten(tmp_path, **changes):
    """Return the page of a summary with some fields changed."""
    run_folder(tmp_path / "run", domains=FEW)
    whole = replace(summary(domains=FEW), **changes)
    (tmp_path / "run" / "summary.json").write_bytes(json_bytes(whole, "summary.json"))
    return write_report(tmp_path / "run").read_text("utf-8")


def test_the_summary_is_read_back_as_it_was_written(folder):
    assert read_demo_summary(folder / "summary.json") == summary(domains=FEW)


def test_the_page_holds_question_answer_sections_caveats_facts_and_files(page):
    made = summary(domains=FEW)
    told = " ".join(page.text.split())
    for text in (made.question, made.answer, *made.caveats, *made.methods.values()):
        assert text in told
    for text in (
        made.subject["fingerprint"],
        "finished",
        "2 min 51 s",
        "answers.jsonl",
        "figures/transfer.svg",
    ):
        assert text in told
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {"cosines", "sweep", "transfer", "chance", "answers", "caveats", "facts", "files"} <= anchors
    links = {
        value
        for _, name, value in page.attributes
        if name == "href" and value.startswith("#") and len(value) < 12
    }
    assert {link[1:] for link in links} <= anchors


def test_every_section_has_one_sentence_with_its_n_a_figure_a_table_a_method_and_a_caveat(page):
    sections = demo_sections(summary(domains=FEW))
    told = " ".join(page.text.split())
    for section in sections:
        shows = section.shows
        assert shows in told
        assert re.search(r"\d", shows)
        assert shows.endswith(".")
        assert section.tables
        assert section.obtained
        assert section.caveats
    assert page.elements.count("svg") == page.elements.count("figure") == len(sections)
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == [section.reading for section in sections]


def test_the_sentences_count_what_the_records_hold():
    made = summary()
    cosine, sweep, transfer, chance = (section.shows for section in demo_sections(made))
    alike = sum(abs(row.cosine) > 0.082 for row in made.cosines.rows)
    assert cosine.startswith(
        f"{alike} of 10 pairs of directions are more alike than 95 % of random directions"
    )
    assert "layer 15, coefficient +1.00 (residual)" in sweep
    assert "by +0.70 nats per token on average over 5 domains" in sweep
    foreign = sum(row.p_holm < 0.05 for row in made.transfer if row.source != row.target)
    assert "(5 of 5 with p < 0.05; n = 18 questions each)" in transfer
    assert f"({foreign} of 20 with p < 0.05; n = 18 questions each)" in transfer
    assert chance.startswith("In 5 of 5 domains the own direction shifts propensity beyond the middle 95 %")


def test_the_page_loads_nothing_and_runs_nothing(html, page):
    assert not {"script", "iframe", "object", "embed", "link", "form", "base"} & set(page.elements)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    loaded = [
        value for tag, name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")
    ]
    assert all(value.startswith(("#", "./")) for value in loaded)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")


def test_figures_do_not_share_ids_and_find_the_parts_they_use(page, html):
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', html)
    assert {one or other for one, other in used} <= set(ids)


def test_the_figures_follow_the_theme_and_lie_beside_the_page(folder, html):
    assert "var(--ink)" in html
    assert "var(--series-1)" in html
    assert "prefers-color-scheme: dark" in html
    assert "#1f2328" not in html[html.index("<svg") :]
    names = [
        f"{name}.{kind}" for name in ("chance", "cosines", "sweep", "transfer") for kind in ("png", "svg")
    ]
    assert sorted(os.listdir(folder / "figures")) == names


def test_the_same_records_give_the_same_page(folder, html):
    assert write_report(folder).read_text("utf-8") == html


def test_text_from_models_and_data_is_shown_and_never_obeyed(tmp_path, page):
    steered = [
        SteeredAnswer(coefficient=1.0, text=text, n_edited_prefill=1, n_edited_decode=1, relative_shift=None)
        for text in HOSTILE
    ]
    rows = tuple(
        replace(answers()[0], domain=text, prompt=text, base=text, steered=(answer,))
        for text, answer in zip(HOSTILE, steered, strict=True)
    )
    every = " ".join(HOSTILE)
    made = summary(domains=HOSTILE[:2])
    name = dict(made.subject) | {"name": every}
    shown = Page(
        rewritten(
            tmp_path,
            **vars_of(made) | {"answers": rows},
            question=every,
            answer=every,
            caveats=HOSTILE,
            subject=name,
            methods={"sweep": every},
        )
    )
    told = " ".join(shown.text.split())
    assert [text for text in HOSTILE if told.count(" ".join(text.split())) < 10] == []
    assert set(shown.elements) <= set(page.elements)
    assert shown.elements.count("h1") == 1
    assert not [name for _, name, _ in shown.attributes if name.startswith("on")]


def vars_of(made):
    names = ("domains", "cosines", "reliability", "sweep", "baseline", "transfer", "random", "answers")
    return {name: getattr(made, name) for name in names}


def test_signs_that_hide_or_reorder_text_are_written_out():
    assert visible("a\u202eb\x00c\ud800d\x1b[31m\u2066e\ne\tf") == (
        "a⟦U+202E⟧b⟦U+0000⟧c⟦U+D800⟧d⟦U+001B⟧[31m⟦U+2066⟧e\ne\tf"
    )
    assert visible("שלום, عالم, 你好, naïve 👩‍👩‍👧") == "שלום, عالم, 你好, naïve 👩‍👩‍👧"
    assert visible(Markup("<b>\x00</b>")) == "<b>\x00</b>"


def test_extremes_are_shown_for_what_they_are(tmp_path):
    made = summary(domains=FEW)
    row = replace(answers()[0], base="x" * 1_000_000, prompt="half \ud83d", steered=())
    none = dict.fromkeys(("low", "high", "p", "p_holm", "random_mean", "random_low", "random_high"))
    transfer = tuple(replace(row, **none, n_random=0) for row in made.transfer)
    empty = {"random": (), "caveats": (), "reliability": (), "methods": {}, "timings": {}}
    html = rewritten(tmp_path, transfer=transfer, answers=(row,), **empty)
    assert "half ⟦U+D83D⟧" in html
    assert "x" * LONGEST_TEXT in html
    assert "x" * (LONGEST_TEXT + 1) not in html
    assert "⟦994,000 more characters are in the records⟧" in html
    assert "How the interval was computed is not in the records." in html
    assert '<td class="n">\u2013</td>' in html
    assert not {"nan", "None"} & set(Page(html).text.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "misdirection.sweep/9"},
            r"format 'misdirection.sweep/9' has no report; have 'misdirection.demo/1'",
        ),
        ({"colour": 1}, r"summary\.json: unknown key 'colour'; allowed: 'format', 'question'"),
        ({"seed": "0"}, r"summary\.json: seed: '0' is text; allowed: a whole number"),
    ],
)
def test_a_summary_of_another_kind_is_refused_and_an_older_report_stays(tmp_path, change, message):
    path = run_folder(tmp_path / "run", domains=FEW)
    (path / "report.html").write_text("older")
    (path / "summary.json").write_text(json.dumps(asdict(summary(domains=FEW)) | change))
    with pytest.raises(ValueError, match=message):
        write_report(path)
    assert (path / "report.html").read_text() == "older"


def test_a_folder_without_summary_is_refused_by_name(tmp_path):
    with RunFolder.open(tmp_path, verb="demo", config={}, seed=0):
        pass
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        write_report(tmp_path / "nowhere")


def test_a_resumed_and_failed_run_says_so(folder):
    resumed = (Resumption(at="2030-01-01T00:00:00+00:00", changed=("versions.torch: '1' -> '2'",)),)
    changes = {"status": "failed", "error": "OSError", "commit": "c" * 40, "dirty": True, "ended": None}
    facts = replace(read_facts(folder), resumed=resumed, **changes)
    told = {name: value for _, pairs in facts_of(facts, {}) for name, value in pairs}
    assert told["ended as"] == "failed (OSError)"
    assert told["ended (UTC)"] == "not recorded"
    assert told["commit"] == "c" * 40 + " with uncommitted changes"
    assert told["resumed 2030-01-01T00:00:00+00:00"] == "versions.torch: '1' -> '2'"


def test_times_are_written_as_a_person_says_them():
    assert [duration(0.52), duration(59.9), duration(60), duration(3599.9), duration(7260)] == [
        "0.5 s", "59.9 s", "1 min 0 s", "1 h 0 min", "2 h 1 min",
    ]  # fmt: skip
