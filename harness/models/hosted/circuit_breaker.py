"""The circuit breaker of one system: it opens when no further call can succeed.

It knows nothing of HTTP but status codes.
"""

from __future__ import annotations

from harness.models.hosted.failures import SystemWideFailure
from harness.records import Answer, Failure

# Statuses of a malformed request. All requests of a system may be malformed in the same way.
_MALFORMED = frozenset({400, 422})
_LEAST_THRESHOLD = 8


class CircuitBreaker:
    """Decides from the outcomes of a system's calls whether more are sent.

    It opens

    - before any answer, at the first :class:`SystemWideFailure`;
    - before any answer, when the number of malformed requests reaches the threshold;
    - after answers, when the number of system-wide failures since the last answer reaches the
      threshold: a key may expire, an account may run empty;
    - at any time, when no attempt of that many consecutive calls had a response.

    The threshold is a quarter of ``concurrency``, at least 8. An answer resets all counters. A
    prompt that is too long or filtered says nothing about other prompts and is not counted.
    """

    def __init__(self, concurrency: int, max_attempts: int) -> None:
        #: The number of answers so far.
        self.answer_count = 0
        #: Since the last answer: the first system-wide failure, else the first malformed request.
        self.rejection: Failure | None = None
        #: Since the last response: the first call without one.
        self.no_response: Failure | None = None
        self._max_attempts = max_attempts
        self._threshold = max(_LEAST_THRESHOLD, concurrency // 4)
        self._consecutive_rejections = 0
        self._consecutive_without_response = 0

    def record(self, outcome: Answer | Failure) -> None:
        """Record the outcome of a call. To be called in the order of completion."""
        if isinstance(outcome, Failure) and self._is_without_response(outcome):
            self._consecutive_without_response += 1
            self.no_response = self.no_response or outcome
            return
        if isinstance(outcome, Answer) or outcome.status_code is not None:
            self._consecutive_without_response, self.no_response = 0, None
        if isinstance(outcome, Answer):
            self.answer_count += 1
            self._consecutive_rejections, self.rejection = 0, None
        elif self.may_concern_all(outcome):
            self._consecutive_rejections += 1
            if self.rejection is None or not isinstance(self.rejection, SystemWideFailure):
                self.rejection = outcome

    def may_concern_all(self, failure: Failure) -> bool:
        """Whether every other call of the system may fail for the same reason."""
        if isinstance(failure, SystemWideFailure) or self._is_without_response(failure):
            return True
        return (
            not self.answer_count
            and failure.status_code in _MALFORMED
            and not (failure.too_long or failure.filtered)
        )

    @property
    def is_open(self) -> bool:
        """Whether no more calls are to be sent."""
        at_once = isinstance(self.rejection, SystemWideFailure) and not self.answer_count
        return at_once or self._consecutive_rejections >= self._threshold or self.server_is_gone

    @property
    def server_is_gone(self) -> bool:
        """Whether it is open because the server no longer responds."""
        return self._consecutive_without_response >= self._threshold

    def _is_without_response(self, failure: Failure) -> bool:
        exhausted = failure.status_code is None and failure.attempts >= self._max_attempts
        return exhausted and not isinstance(failure, SystemWideFailure)
