"""The way to a server: requests as the openai SDK writes them, sent by aiohttp alone.

The SDK gives authentication, Azure's addresses, configuration from the environment (organisation,
project, headers of one's own) and error types. What it builds for the first call of each model is
the pattern of all others: its URL and its headers stay, the body is encoded as it would encode it,
and one connection pool carries them. Proxies and certificates are those of the environment, as the
SDK's own client takes them (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE``). A
redirect is not followed: it would take the key along.

SDK, httpx2 and aiohttp are imported when something is sent, never before.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.errors import CredentialsError, UsageError
from harness.models.hosted import secrets
from harness.models.hosted.openai_settings import OPENAI_URL, OpenAISettings
from harness.models.pace.limiter import RateLimiter

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from httpx2 import AsyncClient
    from multidict import CIMultiDict
    from openai import APIStatusError, AsyncOpenAI
    from yarl import URL

# A server of one's own needs no key, but the SDK insists on one.
_NO_KEY = "none"
_KEEPALIVE_S = 30.0
_CONNECT_S = 10.0
_LARGEST = 32 * 2**20
# What aiohttp writes itself, for each body and as it can decode.
_OWN_HEADERS = ("content-length", "accept-encoding")
# What no longer holds of a body that was decoded.
_CODING_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})

# The SDK's own spelling (openai._utils._json.openapi_dumps), without building an encoder each time.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class TooLarge(Exception):
    """A response longer than anything a model writes; it was not read to its end."""


@dataclass(frozen=True, slots=True)
class Received:
    """A response as it came, decompressed. The names of ``headers`` match in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True, repr=False)
class _Pattern:
    """What all requests of one model to one path have in common. Holds the key."""

    url: URL
    headers: CIMultiDict[str]
    proxy: str | None


class Wire:
    """A connection pool of one event loop, opened when it is used and again after :meth:`aclose`.

    It has as many connections as calls are in flight: how many may be is not decided here.
    """

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client
        self._patterns: dict[tuple[str, str, float], _Pattern] = {}
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._building = asyncio.Lock()

    async def post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> Received:
        """Send a body to a path below the base URL; ``timeout_s`` is for all of it.

        Raises:
            TimeoutError, aiohttp.ClientError, OSError: no complete response came.
            TooLarge: it is longer than 32 MB.
            ValueError: a body that UTF-8 or JSON cannot hold.
        """
        data = encode(body)
        async with asyncio.timeout(timeout_s):
            session = self._session
            if session is None or self._loop is not asyncio.get_running_loop():
                session = self._open()
            pattern = await self._pattern(path, body, timeout_s)
            async with session.post(
                pattern.url,
                data=data,
                headers=pattern.headers,
                proxy=pattern.proxy,
                allow_redirects=False,
            ) as response:
                return Received(response.status, response.headers, await _read(response))

    def error(self, received: Received) -> APIStatusError:
        """A response that is no answer, as the SDK's own exception."""
        import httpx2

        kept = [(n, v) for n, v in received.headers.items() if n.lower() not in _CODING_HEADERS]
        response = httpx2.Response(
            received.status,
            headers=kept,
            content=received.content,
            request=httpx2.Request("POST", self._client.base_url),
        )
        return self._client._make_status_error_from_response(response)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _pattern(self, path: str, body: Mapping[str, Any], timeout_s: float) -> _Pattern:
        place = (path, body["model"], timeout_s)
        if place not in self._patterns:
            # One of the calls that begin together has the SDK do it, which takes milliseconds.
            async with self._building:
                if place not in self._patterns:
                    self._patterns[place] = await self._build(path, body, timeout_s)
        return self._patterns[place]

    async def _build(self, path: str, body: Mapping[str, Any], timeout_s: float) -> _Pattern:
        import httpx2
        from multidict import CIMultiDict
        from yarl import URL

        answered: httpx2.Response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            body=body,
            options={"security": {"bearer_auth": True}, "timeout": timeout_s},
        )
        written = answered.request
        headers = CIMultiDict(
            (n, v) for n, v in written.headers.multi_items() if n.lower() not in _OWN_HEADERS
        )
        url = URL(str(written.url), encoded=True)
        return _Pattern(url, headers, find_proxy(str(written.url)))

    def _open(self) -> ClientSession:
        import aiohttp
        import httpx2

        secure = self._client.base_url.scheme == "https"
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEEPALIVE_S,
            ssl=httpx2.create_ssl_context() if secure else True,
        )
        self._loop = asyncio.get_running_loop()
        self._building = asyncio.Lock()
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        )
        return self._session


class Line:
    """What all systems with one endpoint and key share: the wire to it and the pace on it.

    Raises:
        CredentialsError: a key is needed and not there (from :meth:`wire`).
        UsageError: as :func:`find_proxy` (from :meth:`wire`).
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._wire: Wire | None = None
        self._users: set[int] = set()
        #: What must not be shown to anyone, and those of it that no answer has for a word.
        self.secrets: tuple[str, ...] = ()
        self.stored_secrets: tuple[str, ...] = ()
        self.pace = RateLimiter(settings.concurrency, rpm=settings.rpm, tpm=settings.tpm)

    def __repr__(self) -> str:
        return f"Line({self._settings.base_url!r})"

    def serves(self, settings: OpenAISettings) -> bool:
        """Whether these settings lead to the same server with the same key."""
        return settings.address == self._settings.address

    def join(self, settings: OpenAISettings) -> None:
        """Another system is about to use the line, at its own ceiling.

        Of its limits and those of all who joined before, the strictest hold from now on.
        """
        self.pace.adjust(settings.concurrency, settings.rpm, settings.tpm)

    def wire(self, user: object) -> Wire:
        """The wire, for a user that lets go of it with :meth:`release`."""
        self._users.add(id(user))
        if self._wire is None:
            key = find_key(self._settings)
            find_proxy(self._settings.base_url)
            self.secrets = secrets.secrets(key)
            self.stored_secrets = secrets.secrets(key, stored=True)
            self._wire = Wire(open_client(self._settings))
        return self._wire

    async def release(self, user: object) -> None:
        """One user fewer; the last one closes the connections. The key is read anew after that."""
        self._users.discard(id(user))
        if self._wire is not None and not self._users:
            wire, self._wire = self._wire, None
            await wire.aclose()


def encode(body: Mapping[str, Any]) -> bytes:
    """A body as it is sent.

    Raises:
        ValueError: UTF-8 or JSON cannot hold it.
    """
    return _encode(body).encode()


def find_key(settings: OpenAISettings) -> str:
    """The key that these settings name, empty where none is needed.

    Raises:
        CredentialsError: there is none and the server needs one; names the variable.
    """
    name, azure = settings.api_key_env, settings.provider == "azure"
    key = os.environ.get(name, "").strip()
    if key:
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise CredentialsError(f"{name} does not hold a key: it has spaces or odd letters.")
        return key
    own = not azure and settings.base_url != OPENAI_URL
    if (azure and os.environ.get("AZURE_OPENAI_AD_TOKEN")) or (own and name == "OPENAI_API_KEY"):
        return ""
    where = settings.base_url if azure or own else "OpenAI"
    raise CredentialsError(
        f"No key for {where}: set the environment variable {name} (export {name}=…), name "
        f"another with api_key_env, or use a server of your own with base_url."
    )


def open_client(settings: OpenAISettings, http_client: AsyncClient | None = None) -> AsyncOpenAI:
    """The SDK's client for these settings, its retries off.

    Without an ``http_client`` it sends nothing: every request is answered at once by an empty
    response that carries it.

    Raises:
        CredentialsError: as :func:`find_key`.
    """
    import httpx2
    import openai

    key = find_key(settings)
    shared: dict[str, Any] = {
        "max_retries": 0,
        "http_client": http_client
        or httpx2.AsyncClient(
            transport=httpx2.MockTransport(lambda request: httpx2.Response(200)), trust_env=False
        ),
    }
    if settings.provider == "azure":
        return openai.AsyncAzureOpenAI(
            api_key=key or None,
            azure_endpoint=settings.base_url,
            api_version=settings.api_version,
            **shared,
        )
    return openai.AsyncOpenAI(api_key=key or _NO_KEY, base_url=settings.base_url, **shared)


def find_proxy(url: str) -> str | None:
    """The proxy that the environment (or the system) names for a URL.

    Raises:
        UsageError: it is none for HTTP; names the variable.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    scheme = proxy.partition("://")[0].lower() if "://" in proxy else None
    if scheme is None:
        return f"http://{proxy}"
    if scheme in ("http", "https"):
        return proxy
    names = (f"{parts.scheme}_proxy", "all_proxy")
    spelt = (spelling for name in names for spelling in (name, name.upper()))
    where = next((name for name in spelt if os.environ.get(name)), "The system's network settings")
    raise UsageError(
        f"{where}: a proxy of the kind {scheme}:// cannot be used. Name an HTTP proxy "
        f"(http://host:port) in {parts.scheme.upper()}_PROXY, or go around it with "
        f"NO_PROXY={parts.hostname}."
    )


async def _read(response: ClientResponse) -> bytes:
    """A body, as far as anybody would want to read it."""
    stream = response.content
    first = await stream.readany()
    if stream.at_eof():
        return first
    parts, size = [first], len(first)
    while not stream.at_eof():
        part = await stream.readany()
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            response.close()
            raise TooLarge
    return b"".join(parts)
