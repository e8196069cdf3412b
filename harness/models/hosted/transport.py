"""The transport: requests as the openai SDK writes them, sent by aiohttp alone.

The SDK gives authentication, Azure's addresses, configuration from the environment (organisation,
project, custom headers) and error types. It builds the first request of each model. The others
reuse that request's URL and headers; the body is encoded as the SDK encodes it. One connection
pool carries them all.

Proxies and certificates are those of the environment, as in the SDK's own client (``HTTPS_PROXY``,
``ALL_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE``). A redirect is not followed, because it would carry
the key to another server.

The SDK, httpx2 and aiohttp are imported when something is sent, never before.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.errors import UsageError
from harness.models.hosted.credentials import read_api_key
from harness.models.hosted.openai_settings import OpenAISettings

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession
    from httpx2 import AsyncClient
    from multidict import CIMultiDict
    from openai import APIStatusError, AsyncOpenAI
    from yarl import URL

# A server of one's own needs no key, but the SDK insists on one.
_NO_KEY = "none"
_KEEPALIVE_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_MOST_BYTES = 32 * 2**20
# aiohttp writes these headers itself, for each body and for the encodings that it can decode.
_AIOHTTP_HEADERS = ("content-length", "accept-encoding")
# These headers do not hold for a decoded body.
_ENCODING_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})

# The SDK's own spelling (openai._utils._json.openapi_dumps), without building an encoder each time.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class ResponseTooLargeError(Exception):
    """A response larger than any answer of a model. It was not read to its end."""


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A response with its decoded body. Names of ``headers`` match in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True, repr=False)
class _RequestHead:
    """What all requests of one model to one path have in common. Holds the key."""

    url: URL
    headers: CIMultiDict[str]
    proxy: str | None


class Transport:
    """A connection pool of one event loop. It is opened by use, also after :meth:`aclose`.

    Each request in flight has a connection of its own. Their number is not limited here.
    """

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client
        self._heads: dict[tuple[str, str, float], _RequestHead] = {}
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._building = asyncio.Lock()

    async def post(self, path: str, body: Mapping[str, Any], timeout_s: float) -> HTTPResponse:
        """Send a body to a path below the base URL.

        ``timeout_s`` covers everything from connecting to the last byte of the response.

        Raises:
            TimeoutError, aiohttp.ClientError, OSError: there was no complete response.
            ResponseTooLargeError: the response is larger than 32 MB.
            ValueError: UTF-8 or JSON cannot represent the body.
        """
        data = encode_body(body)
        async with asyncio.timeout(timeout_s):
            session = self._session
            if session is None or self._loop is not asyncio.get_running_loop():
                session = self._open_session()
            head = await self._head(path, body, timeout_s)
            async with session.post(
                head.url,
                data=data,
                headers=head.headers,
                proxy=head.proxy,
                allow_redirects=False,
            ) as response:
                return HTTPResponse(response.status, response.headers, await _read(response))

    def sdk_error(self, response: HTTPResponse) -> APIStatusError:
        """An error response as the SDK's own exception."""
        import httpx2

        headers = [
            (name, value)
            for name, value in response.headers.items()
            if name.lower() not in _ENCODING_HEADERS
        ]
        sdk_response = httpx2.Response(
            response.status,
            headers=headers,
            content=response.content,
            request=httpx2.Request("POST", self._client.base_url),
        )
        return self._client._make_status_error_from_response(sdk_response)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _head(self, path: str, body: Mapping[str, Any], timeout_s: float) -> _RequestHead:
        key = (path, body["model"], timeout_s)
        if key not in self._heads:
            # Building takes the SDK milliseconds. Of the calls that start together only one does.
            async with self._building:
                if key not in self._heads:
                    self._heads[key] = await self._build_head(path, body, timeout_s)
        return self._heads[key]

    async def _build_head(
        self, path: str, body: Mapping[str, Any], timeout_s: float
    ) -> _RequestHead:
        import httpx2
        from multidict import CIMultiDict
        from yarl import URL

        response: httpx2.Response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            body=body,
            options={"security": {"bearer_auth": True}, "timeout": timeout_s},
        )
        request = response.request
        headers = CIMultiDict(
            (name, value)
            for name, value in request.headers.multi_items()
            if name.lower() not in _AIOHTTP_HEADERS
        )
        url = URL(str(request.url), encoded=True)
        return _RequestHead(url, headers, find_proxy(str(request.url)))

    def _open_session(self) -> ClientSession:
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
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
        )
        return self._session


def encode_body(body: Mapping[str, Any]) -> bytes:
    """The bytes of a request's body, the same as the SDK's.

    Raises:
        ValueError: UTF-8 or JSON cannot represent it.
    """
    return _encode(body).encode()


def open_sdk_client(
    settings: OpenAISettings, http_client: AsyncClient | None = None
) -> AsyncOpenAI:
    """The SDK's client for these settings, without retries.

    Without an ``http_client`` it sends nothing: every request is answered at once by an empty
    response, from which the request can be read.

    Raises:
        CredentialsError: a key is needed and there is none.
    """
    import httpx2
    import openai

    key = read_api_key(settings)
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
    """The proxy that the environment or the operating system names for a URL.

    Raises:
        UsageError: it is not an HTTP proxy; the message names the variable.
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
    spellings = (spelling for name in names for spelling in (name, name.upper()))
    source = next(
        (name for name in spellings if os.environ.get(name)), "The system's network settings"
    )
    raise UsageError(
        f"{source}: a proxy of the kind {scheme}:// cannot be used. Name an HTTP proxy "
        f"(http://host:port) in {parts.scheme.upper()}_PROXY, or go around it with "
        f"NO_PROXY={parts.hostname}."
    )


async def _read(response: ClientResponse) -> bytes:
    """The body of a response, unless it is too large."""
    stream = response.content
    first = await stream.readany()
    if stream.at_eof():
        return first
    parts, size = [first], len(first)
    while not stream.at_eof():
        part = await stream.readany()
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            response.close()
            raise ResponseTooLargeError
    return b"".join(parts)
