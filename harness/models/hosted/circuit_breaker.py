"""How a server takes to a system's calls: one by one, or none of them.

Knows nothing of HTTP but status codes.
"""

from __future__ import annotations

from harness.models.hosted.failures import Refused
from harness.records import Answer, Failure

# Codes for a request that is not as the endpoint wants it, perhaps like all others of the system.
_REJECTED = frozenset({400, 422})
_AT_LEAST = 8


class Standing:
    """Whether to go on, from what came of a system's calls, of so many ``attempts``, so far.

    A :class:`Refused` before any answer settles it. So does an unbroken row, a quarter as long as
    calls may be in flight (8 at least): before any answer of requests rejected as malformed, and
    after answers of :class:`Refused` ones, a key that has expired, an account that is empty; and
    at any time of calls none of whose attempts had a response, with nothing between them that a
    server said. Prompts that are too long, or filtered, say nothing of the others.
    """

    def __init__(self, in_flight: int, attempts: int) -> None:
        self.answers = 0
        #: The first refusal since the last answer.
        self.refusal: Failure | None = None
        #: The first call without a response since the last with one.
        self.silence: Failure | None = None
        self._attempts = attempts
        self._many = max(_AT_LEAST, in_flight // 4)
        self._row = 0
        self._silent = 0

    def note(self, outcome: Answer | Failure) -> None:
        """Take in what came of a call, in the order of completion."""
        if isinstance(outcome, Failure) and self._is_silence(outcome):
            self._silent += 1
            self.silence = self.silence or outcome
            return
        if isinstance(outcome, Answer) or outcome.status_code is not None:
            self._silent, self.silence = 0, None
        if isinstance(outcome, Answer):
            self.answers += 1
            self._row, self.refusal = 0, None
        elif self.doubts(outcome):
            self._row += 1
            if self.refusal is None or not isinstance(self.refusal, Refused):
                self.refusal = outcome

    def doubts(self, failure: Failure) -> bool:
        """Whether a failure may be every call's."""
        if isinstance(failure, Refused) or self._is_silence(failure):
            return True
        return (
            not self.answers
            and failure.status_code in _REJECTED
            and not (failure.too_long or failure.filtered)
        )

    @property
    def refused(self) -> bool:
        """Whether every call is refused, as far as one can tell."""
        at_once = isinstance(self.refusal, Refused) and not self.answers
        return at_once or self._row >= self._many or self.gone

    @property
    def gone(self) -> bool:
        """Whether there is no server any more, as far as one can tell."""
        return self._silent >= self._many

    def _is_silence(self, failure: Failure) -> bool:
        unheard = failure.status_code is None and failure.attempts >= self._attempts
        return unheard and not isinstance(failure, Refused)
