"""What asking will take: calls, tokens, money."""

from dataclasses import replace

import pytest

from pipeline.endpoint import ChatRequest, Endpoint, Prices, ask, estimate
from pipeline.records import Message
from tests.servers.faulty import faulty


def request(name, text, **settings):
    return ChatRequest(id=name, messages=(Message(role="user", content=text),), **settings)


LOCAL = Endpoint(base_url="http://127.0.0.1:9/v1", model="m")


def test_tokens_and_money_are_bounds_at_the_users_own_prices():
    rows = [request("a", "x" * 30, max_tokens=100), request("b", "é" * 3, max_tokens=50)]
    told = estimate(LOCAL, rows, prices=Prices(prompt=3.0, completion=15.0, currency="EUR"))
    assert (told.prompt_tokens, told.completion_tokens) == (8 + 10 + 8 + 2, 150)
    assert told.cost == pytest.approx((28 * 3 + 150 * 15) / 1e6)
    assert str(told) == (
        "2 calls for 2 requests (0 are cached); about 28 prompt tokens (3 bytes a token and 8 a message) "
        "and at most 150 of answers; at most 0.00 EUR"
    )


def test_without_prices_there_is_no_cost_and_a_tokenizer_counts_better_than_the_rule():
    told = estimate(LOCAL, [request("a", "one two three")], count_tokens=lambda text: len(text.split()))
    assert (told.prompt_tokens, told.rule, told.cost) == (11, "tokenizer and 8 a message", None)
    assert "EUR" not in str(told)


def test_the_estimate_is_what_asking_then_does(tmp_path):
    with faulty() as server:
        there = Endpoint(base_url=server.base_url, model="m")
        rows = [request(str(i), f"text {i // 2}") for i in range(8)]
        list(ask(there, rows[:3], cache=tmp_path / "cache"))
        server.received.clear()
        told = estimate(there, rows, cache=tmp_path / "cache")
        assert (told.n_requests, told.n_cached, told.n_equal, told.n_calls) == (8, 4, 2, 2)
        list(ask(there, rows, cache=tmp_path / "cache"))
        assert len(server.received) == told.n_calls
        assert estimate(replace(there, model="other"), rows, cache=tmp_path / "cache").n_calls == 4


def test_an_estimate_makes_no_file_and_no_call(tmp_path):
    estimate(LOCAL, [request("a", "x")], cache=tmp_path / "cache")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("price", [-1.0, float("inf"), float("nan")])
def test_prices_that_are_none_are_refused(price):
    with pytest.raises(ValueError, match="allowed: 0 or more"):
        Prices(prompt=price, completion=1.0)
