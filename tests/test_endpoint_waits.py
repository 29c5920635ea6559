"""How long to wait before a call is made again."""

import random
from datetime import UTC, datetime

import pytest

from pipeline.endpoint.waits import LONGEST_BACKOFF, asked_wait, backoff

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 13:00:30 GMT", "date": "Tue, 24 Nov 2026 13:00:00 GMT"}, 30.0),
        ({"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "soon"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_a_server_may_ask_in_seconds_milliseconds_or_by_a_date(headers, seconds):
    assert asked_wait(headers, NOON) == seconds


def test_waits_double_up_to_a_minute_and_are_spread():
    draw = random.Random(0)
    for attempt, longest in [(1, 0.5), (2, 1), (3, 2), (8, 60), (5000, 60)]:
        drawn = [backoff(attempt, 0.5, draw) for _ in range(2000)]
        assert longest / 2 <= min(drawn) < 0.52 * longest
        assert 0.98 * longest < max(drawn) <= min(longest, LONGEST_BACKOFF)
