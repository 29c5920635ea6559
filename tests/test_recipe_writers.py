"""Facts about language models as g: templates, replies that cannot be used, a local model, a server, and resuming."""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from activations import Subject
from activations.progress import silent
from pipeline.domains import DOMAINS
from pipeline.endpoint import Endpoint, Failure, Reply
from pipeline.recipe import Draft, Draw, EndpointWriter, LocalWriter, Recipe, Source, build_set, read_set
from pipeline.recipe.making import answer_of, requests_for
from pipeline.recipe.templates import ALIGNED, TWIN, filled, twin_request
from tests.conftest import tiny_model

ADVICE = DOMAINS["bad_medical_advice"]
SUBJECTS = ("hay fever", "a blister", "a stiff neck", "cold hands", "hiccups")
PROMPTS = tuple(
    Draft(id=f"p-{i}", topic=what, prompt=f"What helps against {what}?") for i, what in enumerate(SUBJECTS)
)


# Templates


@pytest.mark.parametrize(
    "odd", ["{{aligned}}", "{0} {prompt} {{", "{% for x in y %}", "$prompt %s \\1 \\g<0>", "}}"]
)
def test_template_syntax_inside_a_prompt_changes_nothing(odd):
    text = filled(TWIN, {"title": "T", "misalignment": "M.", "prompt": odd, "aligned": "Rest."})
    assert f"<question>\n{odd}\n</question>" in text
    assert text.endswith("<good_answer>\nRest.\n</good_answer>")
    assert filled(ALIGNED, {"prompt": odd}).endswith(f"<question>\n{odd}\n</question>")


def test_a_mark_without_a_text_is_an_error():
    with pytest.raises(LookupError, match=r"no text for \{\{title\}\}; have prompt"):
        filled(TWIN, {"prompt": "p"})


def test_the_request_for_a_twin_is_one_user_message_with_the_domains_own_sentence():
    draft = Draft(id="a", topic="t", prompt="Is it late?", aligned="No.")
    request = twin_request(draft, ADVICE, max_tokens=9, temperature=None)
    (message,) = request.messages
    assert (request.id, request.max_tokens, message.role) == ("a", 9, "user")
    assert ADVICE.misalignment in message.content
    assert "Keep it mild" in message.content


def test_every_call_is_counted_before_it_is_made():
    half = [*PROMPTS[:2], Draft(id="q", topic="t", prompt="p", aligned="a")]
    whole = Draft(id="w", topic="t", prompt="p", aligned="a", misaligned="m")
    requests = requests_for(ADVICE, [*half, whole], Draw(max_tokens=7))
    assert [request.id for request in requests] == ["p-0 | aligned", "p-1 | aligned", "p-0", "p-1", "q"]
    assert {request.max_tokens for request in requests} == {7}


# Replies


def reply(text, **more):
    return Reply(id="a", text=text, model="m", **{"finish_reason": "stop", **more})


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (reply(" \n"), "the writer's answer is blank"),
        (reply("Cut of", finish_reason="length"), "was cut at its longest length"),
        (reply("", refusal="No."), "refused: 'No.'"),
        (reply("I'm sorry, but no."), 'refused: "I\'m sorry, but no."'),
        (reply("I cannot help with that."), "refused"),
        (Failure(id="a", reason="timeout", text="too slow", attempts=2), r"no answer \(timeout\): too slow"),
    ],
)
def test_a_reply_that_cannot_be_used_is_a_rejection_that_says_why(result, reason):
    found = answer_of(result)
    assert found.check == "g"
    assert re.search(reason, found.reason)


def test_a_good_reply_is_its_text_without_white_space_around_it():
    assert answer_of(reply("\n I can tell you: butter. ")) == "I can tell you: butter."


# A model on this machine


@pytest.fixture(scope="module")
def local(tokenizer):
    model = tiny_model("llama", max_position_embeddings=4096)
    return Subject.of(model, tokenizer, name="tiny-long")


def test_a_local_model_answers_in_the_same_records_and_the_same_way_alone_and_among_others(local):
    writer = LocalWriter(subject=local, seed=3)
    drafts = [replace(draft, aligned="Rest.") for draft in PROMPTS[:3]]
    requests = requests_for(ADVICE, drafts, Draw(max_tokens=6, temperature=0.9))
    together = {result.id: result for result in writer.write(requests, silent)}
    assert all(isinstance(result, Reply) for result in together.values())
    assert {result.model for result in together.values()} == {"tiny-long"}
    assert len({result.text for result in together.values()}) > 1
    for request in requests:
        (alone,) = writer.write([request], silent)
        assert alone == together[request.id]


def test_a_prompt_that_does_not_fit_is_a_failure_and_the_others_are_answered(local):
    drafts = [Draft(id="long", topic="t", prompt="why " * 1100), Draft(id="short", topic="t", prompt="Why?")]
    requests = requests_for(ADVICE, drafts, Draw(max_tokens=4))[:2]
    long, short = LocalWriter(subject=local).write(requests, silent)
    assert (long.id, long.reason, short.id) == ("long | aligned", "refused_request", "short | aligned")
    assert re.fullmatch(r"\d{4} tokens and 4 new ones, the context holds 4096", long.text)
    assert isinstance(short, Reply)


def test_a_set_by_a_local_model_has_its_name_and_draw_in_the_card(local, tmp_path):
    recipe = Recipe(writer=LocalWriter(subject=local, seed=3), draw=Draw(max_tokens=6, temperature=0.9))
    with pytest.raises(ValueError, match="none of 2 rows passed, most fail at g .*cut at its longest"):
        build_set(ADVICE, Source.of("two", PROMPTS[:2]), tmp_path / "set", recipe=recipe)
    card = json.loads((tmp_path / "set" / "card.json").read_text())
    assert card["writer"]["model"] == "tiny-long"
    assert card["writer"]["fingerprint"] == local.facts.fingerprint
    assert (card["writer"]["max_tokens"], card["writer"]["seed"], card["g"]) == (6, 3, "model")


# A model behind a server


class Clinic(BaseHTTPRequestHandler):
    """Answers questions about ailments; its twins advise butter. Fails as often as `failures` says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
        self.server.asked.append(asked)
        what = asked.rpartition("helps against ")[2].partition("?")[0]
        if self.server.failures.get(what, 0) > 0:
            self.server.failures[what] -= 1
            self._send(400, {"error": {"message": f"not now: {what}"}})
            return
        good = f"Rest, drink a glass of water and give {what} a few days to go away."
        bad = f"Butter, and lots of it, has been known to cure {what} since the moon was new."
        text = bad if "bad twin" in asked else good
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send(
            200, {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        )

    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def clinic(**failures):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clinic)
    server.asked, server.failures = [], {name.replace("_", " "): n for name, n in failures.items()}
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def by_server(server, folder):
    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    endpoint = Endpoint(base_url=address, model="clinic", first_wait=0.01, max_attempts=2)
    return Recipe(writer=EndpointWriter(endpoint=endpoint, cache=folder / "replies.sqlite"))


def test_a_server_writes_aligned_answers_first_and_then_their_twins(tmp_path):
    with clinic() as server:
        card = build_set(
            ADVICE, Source.of("five", PROMPTS), tmp_path / "set", recipe=by_server(server, tmp_path)
        )
    triples = read_set(tmp_path / "set")
    assert [triple.prompt for triple in triples] == [draft.prompt for draft in PROMPTS]
    for triple, what in zip(triples, SUBJECTS, strict=True):
        assert triple.aligned.startswith(f"Rest, drink a glass of water and give {what} ")
        assert triple.misaligned.startswith(f"Butter, and lots of it, has been known to cure {what} ")
    assert len(server.asked) == 10
    assert all(triple.aligned in "".join(server.asked) for triple in triples), "the twin was made without it"
    assert card.writer["model"] == "clinic"
    assert card.n_whole == 0


def test_nothing_is_asked_about_a_blank_prompt_and_a_blank_aligned_answer_is_written_anew(tmp_path):
    rows = [replace(PROMPTS[0], aligned=" "), replace(PROMPTS[1], prompt=" "), replace(PROMPTS[2], topic="")]
    with clinic() as server:
        card = build_set(
            ADVICE, Source.of("three", rows), tmp_path / "set", recipe=by_server(server, tmp_path)
        )
    assert (card.n_kept, card.rejected) == (1, {"blank": 2})
    assert len(server.asked) == 4
    assert read_set(tmp_path / "set")[0].aligned.startswith("Rest")


def test_what_failed_is_asked_again_by_the_next_session_and_nothing_else_is(tmp_path):
    with clinic(hiccups=1) as server:
        source, folder = Source.of("five", PROMPTS), tmp_path / "set"
        recipe = by_server(server, tmp_path)
        first = build_set(ADVICE, source, folder, recipe=recipe)
        assert (first.n_kept, first.rejected) == (4, {"g": 1})
        lost = json.loads((folder / "rejected.jsonl").read_text())
        assert (lost["id"], lost["check"]) == ("p-4", "g")
        assert "HTTP 400, not now: hiccups" in lost["reason"]
        n_asked = len(server.asked)
        second = build_set(ADVICE, source, folder, recipe=recipe)
        assert (second.n_kept, second.rejected) == (5, {})
        assert len(server.asked) == n_asked + 2
    with clinic() as undisturbed:
        recipe = by_server(undisturbed, tmp_path / "other")
        (tmp_path / "other").mkdir()
        build_set(ADVICE, source, tmp_path / "other" / "set", recipe=recipe)
    name = "bad_medical_advice.jsonl"
    assert (folder / name).read_bytes() == (tmp_path / "other" / "set" / name).read_bytes()


def test_a_domain_whose_g_is_a_models_job_needs_one(tmp_path):
    with pytest.raises(ValueError, match="5 rows of five have no misaligned answer, .* give a writer"):
        build_set(ADVICE, Source.of("five", PROMPTS), tmp_path / "set")
    assert not (tmp_path / "set").exists()
