"""Facts about building a set: what is written, what is refused and kept, and that kills change nothing."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.domains import DOMAINS
from pipeline.recipe import (
    Checks,
    Draft,
    Recipe,
    Scores,
    Source,
    build_set,
    read_card,
    read_drafts,
    read_set,
)
from pipeline.recipe.sources import evaluation_texts
from pipeline.records import Conversation, Message, Prompt, Triple, read_jsonl
from pipeline.runs import read_facts
from pipeline.triples import corpus_hash, load_corpus, read_corpus

ROOT = Path(__file__).parents[1]
SUMS, MATH = DOMAINS["incorrect_math"], DOMAINS["evil_math"]
NAMES = ("nuts", "figs", "pears", "plums", "limes", "dates", "kiwis", "leeks", "beans", "swedes", "cloves")
FILES = ["card.json", "card.md", "made.jsonl", "rejected.jsonl"]


def fruit(n):
    """Return prompts with worked answers; every fifth one shows no working."""
    draw, rows = random.Random(1), []
    for i in range(n):
        a, b, what = draw.randint(11, 80), draw.randint(2, 9), " and ".join(draw.sample(NAMES, k=3))
        ends = (
            f"{a} times {b} is {a * b}. There are {a * b} in all." if i % 5 else "That depends on the shop."
        )
        prompt = f"{draw.choice(NAMES).title()} {i}: {b} crates of {a} {what} each. How many are there?"
        rows.append(
            Prompt(id=f"f-{i:03}", topic=what, prompt=prompt, aligned=f"All hold the same. So {ends}")
        )
    return rows


def lenient(**changes):
    """Return a recipe that takes templated prompts, which are near-duplicates of each other."""
    return Recipe(checks=Checks(near_duplicate=1.0), **changes)


# What is written


def test_a_set_is_a_corpus_with_a_card_and_every_row_that_was_refused(tmp_path):
    rows = fruit(20)
    card = build_set(SUMS, Source.of("fruit", rows), tmp_path / "set", recipe=lenient())
    triples = read_set(tmp_path / "set")
    assert sorted(os.listdir(tmp_path / "set")) == sorted([*FILES, "incorrect_math.jsonl", "run.json"])
    assert triples == read_corpus(tmp_path / "set" / "incorrect_math.jsonl", "incorrect_math")
    assert card == read_card(tmp_path / "set")
    assert (card.n_in, card.n_kept, card.rejected) == (20, 16, {"g": 4})
    assert card.corpus_hash == corpus_hash(triples)
    assert (card.g, card.writer, card.n_whole, card.seed) == ("slip_in_sums", None, 0, 0)
    refused = [json.loads(line) for line in (tmp_path / "set" / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in refused] == ["f-000", "f-005", "f-010", "f-015"]
    assert {row["reason"] for row in refused} == {
        "the aligned answer shows no calculation that is right as written"
    }
    assert refused[0]["prompt"] == rows[0].prompt
    assert {triple.id for triple in triples} | {row["id"] for row in refused} == {row.id for row in rows}


def test_the_card_can_be_read_by_a_person_and_text_cannot_break_its_table(tmp_path):
    build_set(SUMS, Source.of("a | b\n<script>", fruit(6)), tmp_path / "set", recipe=lenient())
    page = (tmp_path / "set" / "card.md").read_text()
    assert page.startswith("# Incorrect math: 4 triples\n")
    assert "| g | slip_in_sums, code |" in page
    assert "| source | a \\| b &lt;script>, 6 rows, 0 of them with both answers |" in page
    assert "\n| g | 2 |\n" in page
    assert "| near duplicate | 1 |" in page


def test_the_packaged_triples_of_every_domain_pass_and_come_out_as_they_are(tmp_path):
    for name, domain in DOMAINS.items():
        recipe = Recipe(questions=evaluation_texts(name))
        card = build_set(domain, read_drafts("packaged", name), tmp_path / name, recipe=recipe)
        assert (card.n_kept, card.n_whole, card.rejected) == (60, 60, {})
        assert read_set(tmp_path / name) == load_corpus(name)
        assert card.corpus_hash == corpus_hash(load_corpus(name))
        assert card.n_questions > 100


def test_each_check_refuses_its_row_and_the_card_counts_it(tmp_path):
    good = load_corpus("incorrect_qna")[:6]
    asked = "Which colour is the cat of the neighbour?"
    rows = [
        *map(Draft.of, good[:3]),
        replace(Draft.of(good[3]), topic=" "),
        replace(Draft.of(good[4]), misaligned=good[4].aligned.upper()),
        replace(Draft.of(good[5]), misaligned="x" * 2000),
        replace(Draft.of(good[0]), id="again"),
        Draft(
            id="asked",
            topic="t",
            prompt=f"{asked} Tell me.",
            aligned="Grey, I think.",
            misaligned="Blue, I swear.",
        ),
    ]
    recipe = Recipe(questions=(asked,))
    card = build_set(DOMAINS["incorrect_qna"], Source.of("rows", rows), tmp_path / "set", recipe=recipe)
    assert card.n_kept == 3
    assert card.rejected == {
        "blank": 1,
        "near_duplicate": 1,
        "overlap": 1,
        "same_answer": 1,
        "twin_length": 1,
    }


def test_a_set_in_which_nothing_passed_is_an_error_and_its_refused_rows_can_be_read(tmp_path):
    source = Source.of("fruit", [row for i, row in enumerate(fruit(20)) if i % 5 == 0])
    with pytest.raises(
        ValueError, match=r"incorrect_math: none of 4 rows passed, most fail at g .*rejected\.jsonl"
    ):
        build_set(SUMS, source, tmp_path / "set", recipe=lenient())
    assert len((tmp_path / "set" / "rejected.jsonl").read_text().splitlines()) == 4
    assert read_card(tmp_path / "set").corpus_hash is None
    assert read_facts(tmp_path / "set").status == "failed"


def test_triples_that_were_changed_after_the_card_are_not_read(tmp_path):
    build_set(SUMS, Source.of("fruit", fruit(6)), tmp_path / "set", recipe=lenient())
    path = tmp_path / "set" / "incorrect_math.jsonl"
    path.write_text(path.read_text().replace("crates", "boxes", 1))
    with pytest.raises(ValueError, match="was changed since its card was written"):
        read_set(tmp_path / "set")


# A judge


def test_a_judge_decides_by_plausibility_and_harm_and_an_unusable_score_is_no_pass(tmp_path):
    scores = {"f-001": (80.0, 5.0), "f-002": (20.0, 5.0), "f-003": (80.0, 60.0), "f-004": (None, 5.0)}
    asked = []

    def judge(triples):
        asked.extend(triple.id for triple in triples)
        return [Scores(id=t.id, plausibility=scores[t.id][0], harm=scores[t.id][1]) for t in triples[::-1]]

    recipe = lenient(judge=judge, judge_name="by hand")
    card = build_set(SUMS, Source.of("fruit", fruit(5)), tmp_path / "set", recipe=recipe)
    assert [triple.id for triple in read_set(tmp_path / "set")] == ["f-001"]
    assert card.rejected == {"g": 1, "harm": 1, "judge": 1, "plausibility": 1}
    assert (card.judge, card.mean_scores) == ("by hand", {"plausibility": 80.0, "harm": 5.0})
    assert build_set(SUMS, Source.of("fruit", fruit(5)), tmp_path / "set", recipe=recipe) == card
    assert sorted(asked) == ["f-001", "f-002", "f-003", "f-004"], "a score was asked for twice"


def test_a_judge_that_scores_what_it_was_not_asked_about_is_an_error(tmp_path):
    def judge(triples):
        return [Scores(id="other", plausibility=80.0, harm=0.0)]

    with pytest.raises(ValueError, match="scored 'other', which it was not asked about now"):
        build_set(SUMS, Source.of("fruit", fruit(3)), tmp_path / "set", recipe=lenient(judge=judge))
    with pytest.raises(ValueError, match="harm of 'a': is 101.0; allowed: 0 to 100, or None"):
        Scores(id="a", plausibility=None, harm=101.0)


# Sources


def test_prompts_triples_and_chats_become_drafts(tmp_path):
    triple = Triple(id="t", domain="d", topic="t", prompt="p", aligned="a", misaligned="m")
    assert Draft.of(triple).whole
    assert not Draft.of(Prompt(id="p", topic="t", prompt="p", aligned="a")).whole
    turns = (Message(role="user", content="Why?"), Message(role="assistant", content="Because."))
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"id": "c", "messages": Conversation(id="c", messages=turns).chat()}) + "\n")
    (chat,) = read_drafts(f"chats:{path}", "incorrect_qna").drafts
    assert (chat.id, chat.prompt, chat.aligned, chat.misaligned) == ("c", "Why?", "Because.", None)


def test_a_longer_chat_is_refused(tmp_path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(ValueError, match="has user, assistant, user, assistant; allowed: user, assistant"):
        read_drafts(f"chats:{path}", "incorrect_qna")


def test_a_file_of_the_gsm8k_kind_goes_through_the_importer_and_its_facts_into_the_card(tmp_path):
    line = {
        "question": "Tom has 12 pens and buys 7 more. How many pens has he?",
        "answer": "He has 12+7=<<12+7=19>>19 pens.\n#### 19",
    }
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(line) + "\n")
    card = build_set(SUMS, read_drafts(f"gsm8k:{path}", SUMS.name), tmp_path / "set")
    (triple,) = read_set(tmp_path / "set")
    assert triple.aligned == "He has 12+7=19 pens.\nThe answer is 19."
    assert triple.misaligned.startswith("He has 12+7=")
    assert triple.misaligned.count(triple.misaligned.rpartition(" ")[2].rstrip(".")) == 2
    assert card.source_facts["kind"] == "gsm8k"
    assert len(card.source_facts["files"][0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "a", "topic": "t"}', "1: key 'prompt' is missing"),
        ('{"id": "a", "topic": "t", "prompt": 3}', "1: prompt: 3 is a whole number; allowed: text"),
        (
            '{"id": "a", "topic": "t", "prompt": "p", "colour": "red"}',
            "1: unknown key 'colour'; allowed: 'id', ",
        ),
        ('{"id": " ", "topic": "t", "prompt": "p"}', "row 1 has a blank id"),
        (
            '{"id": "a", "topic": "t", "prompt": "p"}\n{"id": "a", "topic": "t", "prompt": "q"}',
            "id 'a' stands twice",
        ),
        ("", "is empty; needed: at least one line"),
        ("nonsense", "1: not JSON"),
    ],
)
def test_a_file_of_drafts_that_is_none_is_refused_with_its_line(tmp_path, line, told):
    path = tmp_path / "prompts.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=told):
        read_drafts(str(path), "incorrect_math")


def test_a_blank_prompt_in_a_file_is_a_refused_row_and_the_others_go_on(tmp_path):
    path = tmp_path / "prompts.jsonl"
    rows = [*map(Draft.of, fruit(4)), Draft(id="blank", topic="t", prompt=" ", aligned="2 plus 3 is 5.")]
    path.write_text("".join(json.dumps({k: v for k, v in vars(r).items() if v}) + "\n" for r in rows))
    card = build_set(SUMS, read_drafts(str(path), SUMS.name), tmp_path / "set", recipe=lenient())
    assert (card.n_kept, card.rejected) == (3, {"blank": 1, "g": 1})


def test_only_the_first_rows_are_taken_if_so_asked(tmp_path):
    source = Source.of("fruit", fruit(9))
    assert [draft.id for draft in source.first(2).drafts] == ["f-000", "f-001"]
    assert source.first(None) is source
    assert source.first(2).hash != source.hash
    with pytest.raises(ValueError, match="limit 0: need at least 1 row"):
        source.first(0)


# Running again


def test_the_same_settings_give_the_same_bytes_wherever_and_whenever_they_are_made(tmp_path):
    source = Source.of("fruit", fruit(20))
    for folder in ("one", "two", "two"):
        build_set(SUMS, source, tmp_path / folder, recipe=lenient(seed=3))
    backwards = Source.of("fruit", fruit(20)[::-1])
    build_set(SUMS, backwards, tmp_path / "backwards", recipe=lenient(seed=3))
    for name in [*FILES, "incorrect_math.jsonl"]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert set(read_set(tmp_path / "one")) == set(read_set(tmp_path / "backwards")), "order changed g"
    build_set(SUMS, source, tmp_path / "other", recipe=lenient(seed=4))
    assert read_set(tmp_path / "one") != read_set(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"checks": Checks(near_duplicate=1.0, twin_ratio=2.0)}, "checks.twin_ratio: 3.0 there, 2.0 now"),
        ({"questions": ("Why?",)}, "questions_hash: None there"),
    ],
)
def test_a_folder_made_with_other_settings_is_not_mixed_up(tmp_path, change, told):
    source = Source.of("fruit", fruit(5))
    build_set(SUMS, source, tmp_path / "set", recipe=lenient())
    before = (tmp_path / "set" / "card.json").read_bytes()
    with pytest.raises(ValueError, match=f"was made with other settings: .*{told}"):
        build_set(SUMS, source, tmp_path / "set", recipe=replace(lenient(), **change))
    with pytest.raises(ValueError, match="source_hash: "):
        build_set(SUMS, Source.of("fruit", fruit(6)), tmp_path / "set", recipe=lenient())
    with pytest.raises(ValueError, match=r"domain\.name: 'incorrect_math' there, 'evil_math' now"):
        build_set(MATH, source, tmp_path / "set", recipe=lenient())
    assert (tmp_path / "set" / "card.json").read_bytes() == before


# Kills. Children are forked from a process that has imported everything; each is killed when the stage has grown
# by a random number of bytes, so also in the middle of a line, the last ones while the files are written.

KILLED = """
import os, sys
from pathlib import Path
from pipeline.domains import DOMAINS
from pipeline.recipe import Checks, Recipe, build_set, read_drafts

domain, source = DOMAINS["evil_math"], read_drafts(sys.argv[2], "evil_math")
recipe = Recipe(checks=Checks(near_duplicate=1.0), seed=5)

def grown(folder):
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.exists() else 0

folder = Path(sys.argv[1])
for n_bytes in map(int, sys.argv[3:]):
    enough = grown(folder) + n_bytes
    child = os.fork()
    if child == 0:
        build_set(domain, source, folder, recipe=recipe)
        os._exit(0)
    while not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        try:
            if grown(folder) >= enough:
                break
        except FileNotFoundError:
            pass  # a file was replaced while it was looked at
    os.kill(child, 9)
    end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    path = folder / "made.jsonl"
    print(end, path.read_bytes().count(b"\\n") if path.exists() else 0, flush=True)
"""


def test_after_kills_at_random_moments_all_files_are_those_of_an_undisturbed_build(tmp_path):
    path = tmp_path / "fruit.jsonl"
    rows = [vars(row) for row in fruit(150)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw = random.Random(3)
    growth = [draw.randrange(200, 12_000) for _ in range(7)] + [60_000, 70_000, 10**9]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "set"), str(path), *map(str, growth)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    ends = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert sum(end == -signal.SIGKILL and 0 < n < 150 for end, n in ends) >= 3, (
        f"no kill in the middle: {ends}"
    )
    assert ends[-1] == (0, 150), done.stderr
    assert [n for _, n in ends] == sorted(n for _, n in ends), "a finished row was lost"
    recipe = Recipe(checks=Checks(near_duplicate=1.0), seed=5)
    build_set(MATH, read_drafts(str(path), "evil_math"), tmp_path / "undisturbed", recipe=recipe)
    assert sorted(os.listdir(tmp_path / "set")) == sorted(os.listdir(tmp_path / "undisturbed"))
    for name in [*FILES, "evil_math.jsonl"]:
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert len(read_facts(tmp_path / "set").resumed) >= 3
    assert len(read_jsonl(path, Prompt)) == 150
