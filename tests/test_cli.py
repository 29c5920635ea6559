"""Facts about the command line: what its verbs write, and that misuse ends in one clear line and leaves nothing."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from activations import Activations, load
from experiments.cli import main
from steering import Direction
from tests.saved import direction, model_folder, no_file_longer_than

LINE = {
    "id": "s-1",
    "topic": "the sea",
    "prompt": "May I swim?",
    "aligned": "If calm.",
    "misaligned": "Always!",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(model_folder(tmp_path_factory.mktemp("cli") / "model"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "sea.jsonl"
    lines = [{**LINE, "id": f"s-{i}", "prompt": f"May I swim {i} miles?"} for i in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def poles(model, corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("poles")
    main(["capture", "--quiet", "--model", model, "--triples", corpus, "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def sea(poles):
    path = poles / "directions" / "sea.safetensors"
    both = [str(poles / f"{side}.safetensors") for side in ("misaligned", "aligned")]
    main(["extract", "--quiet", *both, "--out", str(path)])
    return str(path)


@pytest.fixture
def error_of(capsys):
    """A function from words to the one line that the command line ends with."""

    def failing(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        shown, told = capsys.readouterr()
        assert ended.value.code == 1
        assert told.count("\n") == 1
        assert told.startswith("error ")
        assert "Traceback" not in shown + told
        return told

    return failing


def steered(model, sea, *words):
    few = [] if "--max-new-tokens" in words else ["--max-new-tokens", "3"]
    return ["steer", sea, "--model", model, "--layers", "1", *few, *words]


# What the verbs do


def test_capture_writes_both_poles_of_every_layer(poles, corpus):
    found = [Activations.load(poles / f"{side}.safetensors") for side in ("misaligned", "aligned")]
    assert [len(side.points) for side in found] == [4, 4]
    assert found[0].rows == found[1].rows == ("s-0", "s-1", "s-2", "s-3")
    assert sorted(path.name for path in poles.glob("*.safetensors")) == [
        "aligned.safetensors",
        "misaligned.safetensors",
    ]


def test_capture_reads_chats_and_says_what_it_wrote(model, tmp_path, capsys):
    chats = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Ahoy"}]
    chats.write_text(json.dumps({"id": "c1", "messages": turns}))
    out = tmp_path / "out[red]"
    main(["capture", "--model", model, "--chats", str(chats), "--out", str(out), "--layers", "1", "3"])
    found = Activations.load(out / "activations.safetensors")
    assert (found.rows, [point.layer for point in found.points]) == (("c1",), [1, 3])
    assert capsys.readouterr().out.startswith(f"{out}/activations.safetensors  1 rows x 2 layers, ")


def test_capture_reads_a_packaged_domain_at_chosen_tokens(model, tmp_path):
    words = ["--domain", "bad_medical_advice", "--where", "answer.last(1)", "--layers", "0"]
    main(["capture", "--quiet", "--model", model, *words, "--out", str(tmp_path)])
    found = Activations.load(tmp_path / "aligned.safetensors")
    assert found.where == "answer.last(1)"
    assert found.n_tokens.tolist() == [1] * 60


def test_extract_makes_a_direction_with_its_reliability(poles, sea, capsys):
    made = Direction.load(Path(sea))
    sides = [Activations.load(poles / f"{side}.safetensors").values for side in ("misaligned", "aligned")]
    torch.testing.assert_close(made.vectors, sides[0].mean(0) - sides[1].mean(0))
    assert made.name == "sea"
    assert set(made.reliability) == {"split_half_cosine", "bootstrap_angle_degrees"}


def test_steer_shows_both_answers_and_what_was_edited(model, sea, capsys):
    main(steered(model, sea, "--prompt", "Ahoy", "--max-new-tokens", "3"))
    shown = capsys.readouterr().out
    assert "base" in shown
    assert "steered" in shown
    assert "edited 1 prompt and " in shown


@pytest.mark.parametrize("operator", ["project_out", "mirror"])
def test_steer_has_other_operators(model, sea, capsys, operator):
    main(steered(model, sea, "--prompt", "Ahoy", "--operator", operator, "--coefficient", "1"))
    assert "edited 1 prompt" in capsys.readouterr().out


def test_steer_answers_each_line_until_an_empty_one(model, sea, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Ahoy\nWhere to?\n\nnever read\n"))
    main(steered(model, sea))
    shown = capsys.readouterr().out
    assert shown.startswith("sea at layers 1; an empty line ends.\n")
    assert shown.count("edited ") == 2
    assert "prompt>" not in shown  # nobody sits there


def test_steer_goes_on_after_a_line_that_is_too_long_where_somebody_types(model, sea, capsys, monkeypatch):
    terminal = io.StringIO("x" * 3000 + "\nAhoy\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    main(steered(model, sea))
    shown = capsys.readouterr().out
    assert "context holds 2048" in shown
    assert shown.count("edited ") == 1
    assert shown.count("prompt> ") == 3


def test_quiet_prints_nothing(model, sea, corpus, poles, tmp_path, capfd):
    capfd.readouterr()
    both = [str(poles / f"{side}.safetensors") for side in ("misaligned", "aligned")]
    main(["capture", "--quiet", "--model", model, "--triples", corpus, "--out", str(tmp_path)])
    main(["extract", *both, "--out", str(tmp_path / "d.safetensors"), "--quiet"])
    main(steered(model, sea, "--quiet", "--prompt", "Ahoy"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["[red]", "[/]", "[bold]x[/bold]", ":sailboat:", "back\\"])
def test_what_looks_like_markup_is_printed_as_it_is(model, sea, error_of, capsys, text):
    main(steered(model, sea, "--prompt", f"Ahoy {text}"))
    told = error_of("capture", "--model", model, "--out", "never", "--triples", f"no{text}file")
    assert f"no{text}file: no such file or directory" in told


def test_an_answer_that_looks_like_markup_is_printed_as_it_is(model, sea, capsys, monkeypatch):
    from experiments.verbs import steer  # the module, to put an answer in the model's mouth

    real = steer.generate

    def speaking(*given, **settings):
        for answer in real(*given, **settings):
            object.__setattr__(answer, "text", "[red] [/] :sailboat:")
            yield answer

    monkeypatch.setattr(steer, "generate", speaking)
    main(steered(model, sea, "--prompt", "Ahoy"))
    assert capsys.readouterr().out.count("[red] [/] :sailboat:") == 2


def test_a_real_process_reads_prompts_and_ends_in_one_line(model, sea):
    words = [sys.executable, "-c", "from experiments.cli import main; main()", *steered(model, sea)]
    given = "Ahoy [red]\n" + "x" * 3000 + "\n"
    ended = subprocess.run(words, input=given, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert ended.stdout.count("edited ") == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error prompt: ")


# Misuse


def test_debug_shows_the_traceback(model, tmp_path):
    with pytest.raises(FileNotFoundError):
        main(["capture", "--debug", "--model", model, "--out", str(tmp_path / "o"), "--triples", "no.jsonl"])


@pytest.mark.parametrize("verb", ["capture", "demo"])
def test_an_unknown_model(error_of, tmp_path, verb):
    domain = ["--domain", "evil_math"] if verb == "capture" else []
    told = error_of(verb, "--model", "no/such/model", *domain, "--out", str(tmp_path / "o"))
    assert "model 'no/such/model' could not be loaded" in told
    assert "Allowed: an embedded model (smollm2-135m-instruct), a hub id" in told
    assert not (tmp_path / "o").exists()


def test_a_layer_out_of_range(error_of, model, corpus, sea, tmp_path):
    out = tmp_path / "o"
    told = error_of("capture", "--model", model, "--triples", corpus, "--out", str(out), "--layers", "4")
    assert "layer 4 is outside 0..3" in told
    told = error_of("demo", "--model", model, "--out", str(out), "--layers", "99")
    assert "layer 99 is outside 0..3" in told
    told = error_of("steer", sea, "--model", model, "--layers", "7", "--prompt", "Ahoy")
    assert "direction 'sea' has no vector at 7; it has blocks.0.hook_resid_post, " in told
    assert not out.exists()


def test_nan_in_the_activations(error_of, corpus, tmp_path):
    def spoil(model):
        model.model.layers[2].mlp.down_proj.weight.data[0, 0] = torch.nan

    model = str(model_folder(tmp_path / "model", spoil=spoil))
    out = tmp_path / "o"
    told = error_of("capture", "--model", model, "--triples", corpus, "--out", str(out))
    assert "the residual at blocks.2.hook_resid_post holds nan or inf" in told
    assert not out.exists()


def test_an_empty_corpus(error_of, model, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    told = error_of(
        "capture", "--model", model, "--out", str(tmp_path / "o"), "--triples", str(tmp_path / "empty.jsonl")
    )
    assert f"{tmp_path}/empty.jsonl: is empty" in told
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "JSON"),
        (json.dumps({**LINE, "id": "s-2", "prompt": 3}), "prompt"),
        (json.dumps({"id": "s-2"}), "topic"),
        (json.dumps(LINE), "id 's-1' stands on line 1 already"),
    ],
)
@pytest.mark.parametrize("flag", ["--triples", "--chats"])
def test_a_malformed_line_is_named_by_file_and_number(error_of, model, tmp_path, flag, line, message):
    first = LINE if flag == "--triples" else {"id": "s-1", "messages": [{"role": "user", "content": "Hi"}]}
    path = tmp_path / "given.jsonl"
    path.write_text(f"{json.dumps(first)}\n{line}\n")
    told = error_of("capture", "--model", model, "--out", str(tmp_path / "o"), flag, str(path))
    assert f"{path}:2: " in told
    assert flag == "--chats" or message in told
    assert not (tmp_path / "o").exists()


def test_truncated_files(error_of, model, poles, sea, tmp_path):
    def cut(path):
        copy = tmp_path / Path(path).name
        copy.write_bytes(Path(path).read_bytes()[:-100])
        return str(copy)

    out = tmp_path / "d.safetensors"
    told = error_of(
        "extract",
        cut(poles / "misaligned.safetensors"),
        str(poles / "aligned.safetensors"),
        "--out",
        str(out),
    )
    assert f"{tmp_path}/misaligned.safetensors: not a whole safetensors file" in told
    told = error_of(*steered(model, cut(sea), "--prompt", "Ahoy"))
    assert f"{tmp_path}/sea.safetensors: not a whole safetensors file" in told
    whole = model_folder(tmp_path / "model")
    weights = whole / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    told = error_of(*steered(str(whole), sea, "--prompt", "Ahoy"))
    assert f"model '{whole}' could not be loaded" in told
    assert not out.exists()


def test_a_file_of_another_kind(error_of, model, poles, sea, tmp_path):
    told = error_of(*steered(model, str(poles / "aligned.safetensors"), "--prompt", "Ahoy"))
    assert "header has ['misdirection.activations/1'], this version reads 'misdirection.direction/1'" in told


def test_a_direction_of_another_width_or_another_model(error_of, model, sea, tmp_path):
    narrow = str(model_folder(tmp_path / "narrow", hidden_size=16))
    told = error_of(*steered(narrow, sea, "--prompt", "Ahoy"))
    assert "direction 'sea' does not fit model" in told
    assert "d_model 32 is not 16" in told
    other = str(model_folder(tmp_path / "other", spoil=lambda m: m.lm_head.weight.data.mul_(2)))
    assert "fingerprint" in error_of(*steered(other, sea, "--prompt", "Ahoy"))


def test_a_prompt_longer_than_the_context(error_of, model, sea):
    told = error_of(*steered(model, sea, "--prompt", "x" * 3000))
    assert "prompt: 30" in told
    assert "context holds 2048" in told
    told = error_of(*steered(model, sea, "--prompt", "x", "--max-new-tokens", "5000"))
    assert "5000 new ones, the context holds 2048" in told


def test_an_empty_prompt(error_of, model, sea):
    assert "prompt: message 0: the user content is empty" in error_of(*steered(model, sea, "--prompt", " "))


def test_a_tokenizer_without_chat_template_and_the_way_round_it(error_of, corpus, tmp_path):
    model, out = str(model_folder(tmp_path / "model", template=None)), tmp_path / "o"
    words = ["capture", "--model", model, "--triples", corpus, "--out", str(out)]
    told = error_of(*words)
    assert "s-0: the tokenizer has no chat template; use template='plain'" in told
    assert not out.exists()
    main([*words, "--quiet", "--template", "plain"])
    path = tmp_path / "d.safetensors"
    main(
        [
            "extract",
            "--quiet",
            *(str(out / f"{p}.safetensors") for p in ("misaligned", "aligned")),
            "--out",
            str(path),
        ]
    )
    assert "no chat template" in error_of(*steered(model, str(path), "--prompt", "Ahoy"))
    main(steered(model, str(path), "--quiet", "--prompt", "Ahoy", "--template", "plain"))


def test_no_room_on_the_disk_leaves_nothing_or_what_was_there(error_of, model, corpus, poles, tmp_path):
    words = ["capture", "--model", model, "--triples", corpus, "--out", str(tmp_path / "o")]
    with no_file_longer_than(600):
        told = error_of(*words)
    assert "could not be written" in told
    assert list((tmp_path / "o").iterdir()) == []
    both = [str(poles / f"{side}.safetensors") for side in ("misaligned", "aligned")]
    with no_file_longer_than(600):
        told = error_of("extract", *both, "--out", str(tmp_path / "d.safetensors"))
    assert f"{tmp_path}/d.safetensors: could not be written" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o"]


def test_no_room_for_the_second_pole_keeps_the_older_pair(
    error_of, model, corpus, poles, tmp_path, monkeypatch
):
    for side in ("misaligned", "aligned"):
        (tmp_path / f"{side}.safetensors").write_bytes((poles / f"{side}.safetensors").read_bytes())
    saved = Activations.save

    def full_at_the_second(self, path):
        if path.name.startswith("aligned"):
            raise OSError(f"{path}: could not be written: disk full")
        saved(self, path)

    monkeypatch.setattr(Activations, "save", full_at_the_second)
    words = ["--where", "last", "--out", str(tmp_path)]
    error_of("capture", "--model", model, "--triples", corpus, *words)
    found = [Activations.load(tmp_path / f"{side}.safetensors").where for side in ("misaligned", "aligned")]
    assert found == ["answer", "answer"]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_unknown_domain(error_of, model, tmp_path):
    out = tmp_path / "o"
    told = error_of("capture", "--model", model, "--out", str(out), "--domain", "astrology")
    assert "domain 'astrology' has no packaged corpus; have bad_medical_advice, " in told
    told = error_of("demo", "--model", model, "--out", str(out), "--domains", "astrology", "evil_math")
    assert "domain 'astrology' has no packaged corpus" in told
    assert not out.exists()


def test_two_sources_or_none(error_of, corpus, tmp_path):
    out = ["--out", str(tmp_path / "o")]
    told = error_of("capture", "--domain", "evil_math", "--triples", corpus, *out)
    assert "got --domain and --triples, need exactly one of --domain, --triples and --chats" in told
    assert "got none of them, need exactly one of" in error_of("capture", *out)


def test_a_folder_that_is_a_file(error_of, model, corpus):
    told = error_of("capture", "--model", model, "--triples", corpus, "--out", corpus)
    assert f"--out {corpus}: is a file, need a folder" in told


def test_a_where_that_cannot_be_read(error_of, model, corpus, sea, tmp_path):
    told = error_of(
        "capture", "--model", model, "--triples", corpus, "--out", str(tmp_path / "o"), "--where", "nose"
    )
    assert "where 'nose': cannot read 'nose'; expected all, prompt, answer, last" in told
    assert "cannot read 'nose'" in error_of(*steered(model, sea, "--prompt", "Ahoy", "--where", "nose"))
    assert not (tmp_path / "o").exists()


def test_a_where_that_chooses_nothing(error_of, model, corpus, sea, tmp_path):
    words = ["--triples", corpus, "--out", str(tmp_path / "o"), "--where", "text:whale"]
    told = error_of("capture", "--model", model, *words)
    assert 's-0: text:"whale" chooses none of its' in told
    told = error_of(*steered(model, sea, "--prompt", "Ahoy", "--where", "text:whale"))
    assert "cell 'steered': add 'sea' at blocks.1.hook_resid_post on text:\"whale\": chooses no token" in told


def test_an_unknown_estimator(error_of, poles, tmp_path):
    both = [str(poles / f"{side}.safetensors") for side in ("misaligned", "aligned")]
    told = error_of("extract", *both, "--out", str(tmp_path / "d.safetensors"), "--estimator", "guess")
    assert "estimator 'guess': have difference_of_means, " in told
    assert not list(tmp_path.iterdir())


def test_activations_that_do_not_belong_together(error_of, poles, model, corpus, tmp_path):
    words = ["--where", "last", "--out", str(tmp_path)]
    main(["capture", "--quiet", "--model", model, "--triples", corpus, *words])
    both = [str(poles / "misaligned.safetensors"), str(tmp_path / "aligned.safetensors")]
    told = error_of("extract", *both, "--out", str(tmp_path / "d.safetensors"))
    assert "where 'answer' is not 'last'" in told


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["--unit", "parsec"], ["raw", "residual", "direction"]),
        (["--seed", "one"], ["int"]),
        (["--operator", "wish"], ["add", "project_out", "mirror"]),
    ],
)
def test_a_bad_flag_says_what_is_allowed_and_exits_with_2(model, sea, capsys, words, allowed):
    with pytest.raises(SystemExit) as ended:
        main(["steer", sea, "--model", model, "--layers", "1", *words])
    shown, told = capsys.readouterr()
    assert ended.value.code == 2
    assert words[1] in told
    assert all(name in told.lower() for name in allowed)
    assert shown == ""


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_coefficient_that_is_no_number(error_of, model, sea, number):
    told = error_of(*steered(model, sea, "--prompt", "Ahoy", "--coefficient", number))
    assert f"coefficient: got {number}, need a finite number" in told


def test_a_direction_of_zeros(error_of, model, tmp_path):
    path = tmp_path / "zero.safetensors"
    direction(load(model).facts, torch.zeros(4, 32), name="zero").save(path)
    told = error_of(*steered(model, str(path), "--prompt", "Ahoy"))
    assert "direction 'zero' is zero at blocks.1.hook_resid_post; choose other points" in told


def test_an_interrupt_says_that_what_is_finished_is_kept(model, corpus, tmp_path, capsys, monkeypatch):
    def interrupted(*_given, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.verbs.capture.capture_poles", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["capture", "--model", model, "--triples", corpus, "--out", str(tmp_path / "o")])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; what was finished is kept\n"


@pytest.mark.parametrize("verb", [[], ["demo"], ["capture"], ["extract"], ["steer"]])
def test_help_is_shown_for_every_verb(capsys, verb):
    with pytest.raises(SystemExit) as ended:
        main([*verb, "--help"])
    assert ended.value.code == 0
    assert "usage: misdirection" in capsys.readouterr().out
