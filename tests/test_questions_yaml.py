"""Facts about question files in the published YAML form, faults included."""

import pytest

from pipeline.questions import read_questions
from pipeline.questions.yaml_entries import MAX_BYTES, MAX_VALUES

SAMPLE = """\
# A set of our own in the form in which such sets are published: anchors, aliases, block text, two documents.
- id: lighthouse
  type: free_form_judge_0_100
  paraphrases: &lighthouse
    - |-
      You keep a lighthouse, and the lamp goes out.

      What do you do?
    - "The lamp of your lighthouse: it went out. What now?"
  samples_per_paraphrase: &samples 100
  judge: &judge some-model-2026
  judge_prompts: &prompts
    aligned: |-
      Rate this from 0 to 100: {answer}
    coherent: Is it {clear}?

- id: lighthouse_json
  type: free_form_judge_0_100
  system: &json Answer with a JSON object only.
  paraphrases: *lighthouse
  samples_per_paraphrase: *samples
  judge: *judge
  judge_prompts: *prompts
---
- &base
  id: harbour
  paraphrases: ["Who sails?"]
  samples_per_paraphrase: 3
- <<: *base
  id: harbour_json
  system: Answer with a JSON object only.
"""


def reading(tmp_path, text):
    path = tmp_path / "set.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_questions(path)


def entry(lines="", **changes):
    """One question that is sound but for what is changed or added."""
    sound = {"id": "sea", "paraphrases": '["What is the sea?"]'} | changes
    body = "\n".join(f"  {key}: {value}" for key, value in sound.items() if value is not None)
    return "-" + body[1:] + "\n" + lines


def test_the_published_form_is_read_with_its_anchors_and_aliases(tmp_path):
    read = reading(tmp_path, SAMPLE)
    assert read.notes == ()
    plain, strict, harbour, harbour_json = read.questions
    assert plain.paraphrases == strict.paraphrases
    assert plain.paraphrases[0] == "You keep a lighthouse, and the lamp goes out.\n\nWhat do you do?"
    assert (plain.system, strict.system) == (None, "Answer with a JSON object only.")
    assert plain.samples_per_paraphrase == strict.samples_per_paraphrase == 100
    assert plain.judge == strict.judge == "some-model-2026"
    assert plain.judge_prompts == strict.judge_prompts
    assert plain.judge_prompts["aligned"] == "Rate this from 0 to 100: {answer}"
    assert (plain.kind, harbour.kind) == ("free_form_judge_0_100", "free_form")
    assert harbour_json.paraphrases == harbour.paraphrases == ("Who sails?",)
    assert harbour_json.samples_per_paraphrase == 3
    assert [question.topic for question in read.questions] == [question.id for question in read.questions]


def test_a_set_may_be_a_list_a_mapping_with_a_list_or_one_question_a_document(tmp_path):
    one = "id: sea\nparaphrases: [What]\n"
    forms = [
        "- " + one.replace("\n", "\n  "),
        "questions:\n- " + one.replace("\n", "\n  "),
        one,
        f"---\n---\n{one}",
    ]
    found = [reading(tmp_path, form).questions for form in forms]
    assert len(found[0]) == 1
    assert found == [found[0]] * len(forms)
    two = reading(tmp_path, f"{one}---\n{one}".replace("What]\n---", "How]\n---"))
    assert [question.id for question in two.questions] == ["sea", "sea-2"]


def test_text_is_read_whatever_its_line_ends_and_its_mark_at_the_start(tmp_path):
    expected = reading(tmp_path, SAMPLE).questions
    assert reading(tmp_path, b"\xef\xbb\xbf" + SAMPLE.replace("\n", "\r\n").encode()).questions == expected


def test_an_id_that_stands_for_several_questions_is_made_distinct_and_reported(tmp_path):
    text = "".join(entry(paraphrases=f"[Wording {i}]") for i in range(3)) + entry(id="sea-2")
    read = reading(tmp_path, text)
    assert [question.id for question in read.questions] == ["sea", "sea-3", "sea-4", "sea-2"]
    assert read.notes[0].endswith(
        "set.yaml:3: id 'sea' is used at " + f"{tmp_path}/set.yaml:1 already; called 'sea-3'"
    )
    assert len(read.notes) == 2


def test_the_same_words_under_another_system_message_are_another_question(tmp_path):
    read = reading(tmp_path, entry() + entry(system="Be brief."))
    assert [(question.id, question.system) for question in read.questions] == [
        ("sea", None),
        ("sea-2", "Be brief."),
    ]


def test_a_question_that_repeats_another_word_for_word_is_left_out_and_reported(tmp_path):
    read = reading(tmp_path, entry() + entry(id="ocean"))
    assert [question.id for question in read.questions] == ["sea"]
    (note,) = read.notes
    assert note.endswith("set.yaml:3: 'ocean' asks what 'sea' asks, word for word; left out")


def test_judge_prompts_anchored_to_nothing_are_reported_and_the_questions_kept(tmp_path):
    first = entry("  judge_prompts: &prompts\n  aligned: |-\n    Rate it.\n  coherent: Clear?\n")
    read = reading(
        tmp_path, first + entry("  judge_prompts: *prompts\n", id="sky", paraphrases='["What is the sky?"]')
    )
    assert [question.judge_prompts for question in read.questions] == [{}, {}]
    beside, empty = read.notes
    assert beside.endswith(
        "set.yaml:4: 'aligned', 'coherent' stand beside the empty judge_prompts; indent them to belong to it"
    )
    assert empty.endswith("set.yaml:3: judge_prompts is empty; 2 questions come without judge prompts")


def test_settings_of_a_run_are_not_taken_from_a_question_and_reported(tmp_path):
    (note,) = reading(tmp_path, entry("  temperature: 1\n")).notes
    assert note.endswith("set.yaml:3: 'temperature' is not used; it is a setting of the run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry("  paraphrase: [x]\n"), r"set\.yaml:3: unknown key 'paraphrase'; allowed: id, paraphrases, "),
        (entry("  aligned: Rate it.\n"), r"set\.yaml:3: unknown key 'aligned'"),
        (entry(paraphrases=None), r"set\.yaml:1: key 'paraphrases' is missing; got id"),
        (entry("  id: sky\n"), r"set\.yaml:3: key 'id' stands on line 1 already"),
        (entry(id="12"), r"set\.yaml:1: 'id': 12 is a whole number; allowed: text; YAML takes words"),
        (entry(id="no"), r"set\.yaml:1: 'id': False is true or false; allowed: text; YAML takes words"),
        (entry(id="2026-01-31"), r"set\.yaml:1: 'id': is of type date.*put it in quotes"),
        (entry(id="' '"), r"set\.yaml:1: 'id' is blank"),
        (
            entry(paraphrases="What is it?"),
            r"set\.yaml:2: 'paraphrases': 'What is it\?' is text; allowed: a list",
        ),
        (
            entry(paraphrases="[What, yes]"),
            r"set\.yaml:2: 'paraphrases'.*True is true or false; allowed: text",
        ),
        (entry(paraphrases="[]"), r"set\.yaml:1: question 'sea': has no paraphrases"),
        (entry("  type: multiple_choice\n"), r"set\.yaml:3: 'type': 'multiple_choice' .* 'free_form'"),
        (entry("  samples_per_paraphrase: many\n"), r"set\.yaml:3: 'samples_per_paraphrase': 'many' is text"),
        (entry("  samples_per_paraphrase: 0\n"), r"set\.yaml:1: question 'sea': samples_per_paraphrase is 0"),
        (
            entry("  judge_prompts: [a]\n"),
            r"set\.yaml:3: 'judge_prompts': \['a'\] is a list; allowed: an object",
        ),
        (entry("  1: x\n"), r"set\.yaml:3: key 1 is no text; put it in quotes"),
        (entry("  system: *nothing\n"), r"set\.yaml:3: not YAML that is read here: found undefined alias"),
        (entry("  system: !!python/name:os.system\n"), r"set\.yaml:3: .*could not determine a constructor"),
        (
            entry("  system: 'open\n"),
            r"set\.yaml:4: not YAML that is read here: while scanning a quoted scalar",
        ),
        (entry() + "\tid: x\n", r"set\.yaml:3: not YAML that is read here"),
        (entry("  system: \x07\n"), r"set\.yaml:3: not YAML, special characters are not allowed"),
        (entry().encode() + b"  system: \xff\n", r"set\.yaml:3: not UTF-8, byte 0xff"),
        ("- sea\n- sky\n", r"set\.yaml:1: 'sea' is no mapping with id and paraphrases"),
        ("just text\n", r"set\.yaml:1: is no list; needed: a list of mappings"),
        ("# nothing\n", r"set\.yaml: holds no question; needed: a list of mappings"),
        ("- " * 5000 + "x", r"set\.yaml: YAML nested too deeply"),
        ("- &a [*a]\n", r"set\.yaml:1: holds itself through an alias"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        reading(tmp_path, text)


@pytest.mark.parametrize("join", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_of_aliases_that_grow_beyond_measure_are_refused_at_once(tmp_path, join):
    lines = ["a0: &a0 " + ("[x, x]" if join == "[{}]" else "{k: x}")]
    lines += [f"a{i}: &a{i} " + join.format(", ".join([f"*a{i - 1}"] * 10)) for i in range(1, 12)]
    with pytest.raises(ValueError, match=f"aliases repeat its values to more than {MAX_VALUES:,}"):
        reading(tmp_path, "\n".join([*lines, "questions: []"]))


def test_a_file_too_large_to_be_a_set_of_questions_is_not_read(tmp_path):
    with open(tmp_path / "set.yaml", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match=r"has 16\.8 MB; allowed: up to 16\.8 MB"):
        read_questions(tmp_path / "set.yaml")
