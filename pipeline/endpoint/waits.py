"""How long to wait before a call is made again: what the server asks for, or longer and longer with jitter."""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 300.0
"""Seconds. A server that asks for a longer pause, e.g. until tomorrow, is not waited for."""

LONGEST_BACKOFF = 60.0
"""Seconds that the doubling waits stop at."""


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a server asks to wait for, or None if it does not say.

    `retry-after-ms` goes before `retry-after`, which is seconds or an HTTP date. A date is compared with the
    answer's own `date`, if it has one, so a wrong clock on either side does no harm.

    Args:
        headers: Of the answer, found by small letters.
        now: The time in UTC.
    """
    if (wait := _number(headers.get("retry-after-ms"))) is not None:
        return wait / 1000
    told = headers.get("retry-after")
    if (wait := _number(told)) is not None:
        return wait
    until = _date(told)
    return None if until is None else max(0.0, (until - (_date(headers.get("date")) or now)).total_seconds())


def backoff(attempt: int, first: float, draw: random.Random) -> float:
    """Return the seconds to wait after an attempt for which the server asked nothing.

    They double with each attempt and are drawn between half of that and the whole, so that callers that failed
    together do not come back together.

    Args:
        attempt: The attempt that failed, from 1.
        first: Seconds after the first one, at most.
        draw: The source of the jitter.
    """
    longest = min(first * 2.0 ** min(attempt - 1, 30), LONGEST_BACKOFF)
    return longest * draw.uniform(0.5, 1.0)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
