"""Notice that a run is getting nowhere: one failure after the other, so that ten thousand more would follow."""

import re

from pipeline.endpoint.address import Endpoint
from pipeline.endpoint.records import Failure, Reply

UNANSWERED = 8
"""So many requests in a row without an answer, or as many as may be under way if that is more, end a run."""

REFUSED = 20
"""So many requests in a row refused in the same words, before any reply, end a run: it is the settings."""

_FILTERED = re.compile("content[ _](filter|policy|management)|moderation|flagged|safety", re.IGNORECASE)


class Streak:
    """The failures of a run since the last reply."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Begin with none."""
        self._endpoint = endpoint
        self._unanswered = 0
        self._refused: list[str] = []
        self._replies = 0

    def add(self, result: Reply | Failure) -> Exception | None:
        """Take in how a request ended, and return what ends the run, if this does.

        A content filter's refusals never do, for they are about the text of each request.
        """
        if isinstance(result, Reply):
            self._replies += 1
            self._unanswered = 0
            return None
        if result.reason != "refused_request":
            self._unanswered += 1
            return self._nobody_there(result)
        self._unanswered = 0
        if _FILTERED.search(result.text):
            return None
        self._refused = [*self._refused, result.text] if result.text in self._refused else [result.text]
        return self._all_refused(result)

    def _nobody_there(self, last: Failure) -> ConnectionError | None:
        if self._unanswered < max(UNANSWERED, self._endpoint.concurrency):
            return None
        told = f"{self._endpoint.named()}: {self._unanswered} requests in a row went unanswered"
        return ConnectionError(f"{told}, the last with: {last.text}; what was answered before is kept")

    def _all_refused(self, last: Failure) -> ValueError | None:
        if self._replies or len(self._refused) < REFUSED:
            return None
        told = f"{self._endpoint.named()}: refused the first {len(self._refused)} requests alike"
        return ValueError(f"{told}: {last.text}")
