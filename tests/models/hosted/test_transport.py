"""Requests on the wire, compared with the openai SDK's own."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import EndpointError, UsageError
from harness.models.hosted.openai_settings import OpenAISettings
from harness.models.hosted.transport import Transport, _encode, find_proxy, open_sdk_client
from harness.records import Answer
from tests.helpers.loopback_server import Handler, completion, handled_by
from tests.helpers.transport_calls import (
    KEY,
    drain_calls,
    make_backend,
    make_settings,
)

_CHAT = {
    "model": "gpt/4o é",
    "messages": [{"role": "user", "content": 'a "b" \\n\n\u200b😀\u2028</'}],
    "stop": ["x"],
    "temperature": 0,
    "top_p": 0.5,
    "extra": {"nested": [None, True, 1e-7]},
}
_COMPLETION = {"model": "m", "prompt": "text", "max_tokens": 512}


# The same requests as the SDK's


async def _through_sdk(settings: OpenAISettings, body: dict[str, Any]) -> None:
    import openai

    client = open_sdk_client(settings, openai.DefaultAioHttpClient())
    call: Callable[..., Awaitable[Any]]
    call = client.chat.completions.create if "messages" in body else client.completions.create
    known = {"model", "messages", "prompt", "temperature", "top_p", "stop", "max_tokens"}
    extra = {name: value for name, value in body.items() if name not in known}
    plain = {name: value for name, value in body.items() if name in known}
    await call(**plain, extra_body=extra or None, timeout=17.5)
    await client.close()


@pytest.mark.parametrize("body", [_CHAT, _COMPLETION], ids=["chat", "completion"])
@pytest.mark.parametrize(
    ("values", "environment"),
    [
        ({}, {}),
        ({}, {"OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}),
        ({"api_key_env": "LAB_KEY"}, {"LAB_KEY": KEY, "OPENAI_API_KEY": "another-key"}),
        ({}, {"OPENAI_CUSTOM_HEADERS": "X-Gateway: token-2\nUser-Agent: mine\nHost: inner"}),
        ({}, {"OPENAI_CUSTOM_HEADERS": f"Authorization: Basic {KEY}"}),
        (
            {"provider": "azure", "api_version": "2024-10-21"},
            {"AZURE_OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-1"},
        ),
        ({"provider": "azure", "api_version": "1"}, {"AZURE_OPENAI_AD_TOKEN": KEY}),
    ],
    ids=["no key", "key", "other key", "headers", "authorization", "azure", "azure token"],
)
async def test_requests_are_those_of_the_sdk(
    body: dict[str, Any],
    values: dict[str, Any],
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    got: list[tuple[str, str, list[tuple[str, str]], bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        headers = sorted((name.lower(), value) for name, value in request.headers.items())
        got.append((request.method, request.raw_path, headers, await request.read()))
        return web.json_response(completion())

    async def main() -> None:
        async with handled_by(handler) as url:
            settings = make_settings(url, **values)
            await _through_sdk(settings, body)
            transport = Transport(open_sdk_client(settings))
            path = "/chat/completions" if "messages" in body else "/completions"
            for _ in range(2):
                assert (await transport.post(path, body, 17.5)).status == 200
            await transport.aclose()

    await main()
    sdk, first, second = got
    assert json.loads(sdk[3]) == body
    assert first == second == sdk


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        ),
    )
)
def test_bodies_have_the_bytes_of_the_sdk(body: dict[str, Any]) -> None:
    from openai._utils._json import openapi_dumps

    assert _encode(body).encode() == openapi_dumps(body)


# The environment's proxies and certificates


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://h/v1", {}, None),
        ("https://h/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("http://h/v1", {"HTTPS_PROXY": "http://p:1"}, None),
        ("http://h/v1", {"ALL_PROXY": "p:1"}, "http://p:1"),
        ("https://h/v1", {"https_proxy": "http://u:w@p:1", "NO_PROXY": "other"}, "http://u:w@p:1"),
        ("https://api.h:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x,.h"}, None),
        ("https://h:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:8443"}, None),
        ("https://h/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
    ],
)
def test_which_proxy_the_environment_names(
    url: str, environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(url) == proxy


@pytest.mark.parametrize(
    ("variable", "proxy", "kind"),
    [
        ("ALL_PROXY", "socks5://u:proxy-secret@p:1", "socks5"),
        ("all_proxy", "SOCKS4://p:1", "socks4"),
        ("HTTPS_PROXY", "socks5h://p:1", "socks5h"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_before_anything_is_sent(
    variable: str, proxy: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    backend = make_backend("https://api.lab/v1")
    for ask in (backend.check, lambda: asyncio.run(drain_calls(backend))):
        with pytest.raises(UsageError) as error:
            ask()
        message = str(error.value)
        assert message.startswith(f"{variable}: a proxy of the kind {kind}:// cannot be used")
        assert "NO_PROXY=api.lab" in message
        assert "proxy-secret" not in message
    monkeypatch.setenv("NO_PROXY", "api.lab")
    backend.check()


async def test_a_proxy_carries_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        got.append((request.host, request.headers.get("Proxy-Authorization")))
        return web.json_response(completion())

    async def main() -> None:
        async with handled_by(handler) as url:
            host = url.removeprefix("http://").removesuffix("/v1")
            monkeypatch.setenv("HTTP_PROXY", f"http://me:proxy-secret@{host}")
            backend = make_backend("http://nowhere.invalid/v1")
            assert isinstance((await drain_calls(backend))[0], Answer)
            await backend.aclose()

    await main()
    # me:proxy-secret
    assert got == [("nowhere.invalid", "Basic bWU6cHJveHktc2VjcmV0")]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody vouches for, with its key."""
    path = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(tmp_path / "key.pem"), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "key.pem").read_text())
    return path


@asynccontextmanager
async def _secure(handler: Handler, certificate: Path) -> AsyncIterator[str]:
    """An HTTPS server; yields its base URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://localhost:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_certificates_are_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(completion())

    async with _secure(handler, certificate) as url:
        stranger = make_backend(url)
        with pytest.raises(EndpointError, match=r"(?i)certificate"):
            await drain_calls(stranger)
        await stranger.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        trusted = make_backend(url)
        assert isinstance((await drain_calls(trusted))[0], Answer)
        await trusted.aclose()


# Responses


# One line for all systems of an endpoint and key
