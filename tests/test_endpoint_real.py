"""Real servers with real models: what a mock would only repeat from our own understanding of the protocol."""

import math
import re
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.endpoint import ChatRequest, Endpoint, Failure, ask
from pipeline.records import Message
from tests.forked import forked
from tests.servers.real import (
    chat_server_fixture,  # noqa: F401
    embedded_server_fixture,  # noqa: F401
)


def endpoint(server, **settings):
    return Endpoint(base_url=server.base_url, model=server.model, **{"first_wait": 0.05, **settings})


def request(name, text, **settings):
    greedy = {"max_tokens": 12, "temperature": 0.0}
    return ChatRequest(id=name, messages=(Message(role="user", content=text),), **{**greedy, **settings})


QUESTIONS = {"sea": "What of the sea?", "wind": "Größe \U0001f30a?", "two": "One line.\nAnother line."}


def test_greedy_replies_are_what_the_model_itself_says(chat_server):
    """Compare with transformers, in this process, on the same weights."""
    asked = [request(name, text) for name, text in QUESTIONS.items()]
    told = {reply.id: reply for reply in ask(endpoint(chat_server), asked, cache=None)}
    tokenizer = AutoTokenizer.from_pretrained(chat_server.folder)
    model = AutoModelForCausalLM.from_pretrained(chat_server.folder, dtype=torch.float32)
    for name, text in QUESTIONS.items():
        chat = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        row = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0][prompt["input_ids"].shape[1] :]
        assert told[name].text == tokenizer.decode(row, skip_special_tokens=True)
        assert told[name].prompt_tokens == prompt["input_ids"].shape[1]
        assert told[name].completion_tokens == len(row)
        assert told[name].finish_reason == ("length" if len(row) == 12 else "stop")


def test_a_server_that_ignores_log_probs_gives_replies_without_them(chat_server):
    (reply,) = ask(endpoint(chat_server), [request("a", "Hello", top_logprobs=5)], cache=None)
    assert reply.completion_tokens
    assert reply.tokens == ()


def test_a_real_refusal_is_told_in_the_servers_words_and_not_repeated(chat_server):
    other = Endpoint(base_url=chat_server.base_url, model="another-model")
    (failure,) = ask(other, [request("a", "Hello")], cache=None)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.status, failure.attempts) == ("refused_request", 400, 1)
    assert failure.text == "HTTP 400, Server is pinned to 'tiny-llama'; requested 'another-model'."
    with pytest.raises(
        LookupError, match=re.escape("/v1/v1, model 'tiny-llama': HTTP 404, Not Found; see that")
    ):
        list(
            ask(
                Endpoint(base_url=f"{chat_server.base_url}/v1", model="tiny-llama"),
                [request("a", "Hello")],
                cache=None,
            )
        )


def test_log_probs_of_a_real_server_are_a_distribution_and_name_the_greedy_token(embedded_server):
    # In English: llama.cpp joins the entries of tokens that are parts of one letter, such as a wave's.
    asked = [request(text, text, top_logprobs=10, max_tokens=6) for text in ("What is the sea?", "Why?")]
    for reply in ask(endpoint(embedded_server), asked, cache=None):
        assert len(reply.tokens) == reply.completion_tokens > 0
        assert "".join(token.token for token in reply.tokens).strip() == reply.text.strip()
        for token in reply.tokens:
            probabilities = [math.exp(option.log_prob) for option in token.options]
            assert len(probabilities) == 10
            assert probabilities == sorted(probabilities, reverse=True)
            assert 0 < sum(probabilities) <= 1 + 1e-6
            assert (token.token, token.log_prob) == (token.options[0].token, token.options[0].log_prob)


def test_a_score_can_be_read_as_an_expectation_over_the_first_tokens_options(embedded_server):
    """What a log-prob judge does with a reply, here for a question whose answer a small model knows."""
    text = "Repeat this number and write nothing else: 7"
    (reply,) = ask(endpoint(embedded_server), [request("a", text, top_logprobs=20, max_tokens=1)], cache=None)
    options = {o.token.strip(): math.exp(o.log_prob) for o in reply.tokens[0].options}
    digits = {int(token): weight for token, weight in options.items() if re.fullmatch("[0-9]", token)}
    expected = sum(digit * weight for digit, weight in digits.items()) / sum(digits.values())
    assert max(digits, key=lambda digit: digits[digit]) == 7
    assert 0 <= expected <= 9


def test_a_seed_repeats_a_draw_and_samples_differ(embedded_server, tmp_path):
    def drawn(*requests):
        return {r.id: r.text for r in ask(endpoint(embedded_server, concurrency=1), [*requests], cache=None)}

    warm = {"temperature": 1.5, "max_tokens": 16}
    first = drawn(*(request(str(i), "Tell me a story.", seed=i, sample=i, **warm) for i in range(3)))
    again = drawn(request("0", "Tell me a story.", seed=0, **warm))
    assert len(set(first.values())) == 3
    assert again["0"] == first["0"]


def test_a_kill_in_the_middle_of_real_calls_loses_nothing_that_was_yielded(chat_server, tmp_path):
    program = """
import os, signal, sys
from pathlib import Path
from pipeline.endpoint import ChatRequest, Endpoint, ask
from pipeline.records import Message

texts = [Message(role="user", content=f"Number {i}") for i in range(40)]
rows = [ChatRequest(id=str(i), messages=(t,), max_tokens=12, temperature=0.0) for i, t in enumerate(texts)]
results = ask(Endpoint(base_url=sys.argv[1], model=sys.argv[2]), rows, cache=Path(sys.argv[3]))
for number, reply in enumerate(results, start=1):
    print(reply.id, flush=True)
    if number == 10:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    told = forked(program, chat_server.base_url, chat_server.model, tmp_path / "cache")
    assert (told.code, len(told.lines)) == (-signal.SIGKILL, 10)
    asked = [request(str(i), f"Number {i}") for i in range(40)]
    replies = {reply.id: reply for reply in ask(endpoint(chat_server), asked, cache=tmp_path / "cache")}
    assert all(replies[row].cached for row in told.lines)
    assert 0 < sum(not reply.cached for reply in replies.values()) <= 30
