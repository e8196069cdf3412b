"""What all systems with one endpoint and key share."""

from __future__ import annotations

from harness.models.hosted.credentials import read_api_key
from harness.models.hosted.openai_settings import OpenAISettings
from harness.models.hosted.redaction import known_secrets
from harness.models.hosted.transport import Transport, find_proxy, open_sdk_client
from harness.models.pace.limiter import RateLimiter


class EndpointConnection:
    """The transport, the rate limiter and the secrets of one endpoint and key."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._transport: Transport | None = None
        self._users: set[int] = set()
        #: What no message may show.
        self.secrets: tuple[str, ...] = ()
        #: What no stored answer may hold: the secrets that cannot be words of one.
        self.answer_secrets: tuple[str, ...] = ()
        self.limiter = RateLimiter(settings.concurrency, rpm=settings.rpm, tpm=settings.tpm)

    def __repr__(self) -> str:
        return f"EndpointConnection({self._settings.base_url!r})"

    def matches(self, settings: OpenAISettings) -> bool:
        """Whether these settings name the same server and key."""
        return settings.address == self._settings.address

    def adjust(self, settings: OpenAISettings) -> None:
        """Prepare for calls of a system: set its ceiling, and add its limits to the others."""
        self.limiter.adjust(settings.concurrency, settings.rpm, settings.tpm)

    def open(self, user: object) -> Transport:
        """The transport. Each user returns it with :meth:`close`.

        Raises:
            CredentialsError: a key is needed and there is none.
            UsageError: the environment names a proxy that cannot be used.
        """
        self._users.add(id(user))
        if self._transport is None:
            key = read_api_key(self._settings)
            find_proxy(self._settings.base_url)
            self.secrets = known_secrets(key)
            self.answer_secrets = known_secrets(key, for_answers=True)
            self._transport = Transport(open_sdk_client(self._settings))
        return self._transport

    async def close(self, user: object) -> None:
        """End one use. The last one closes the transport; a later use reads the key again."""
        self._users.discard(id(user))
        if self._transport is not None and not self._users:
            transport, self._transport = self._transport, None
            await transport.aclose()
