"""Compares transports: the openai SDK as it comes, this package's own, and bare aiohttp.

    python benchmarks/transports.py [--requests 2000] [--latency 0.2] [--in-flight 64]

Sends prompts of 3 kB to the server of benchmarks/throughput.py in a process of its own on this
machine, each way of sending in a fresh process. Prints seconds of wall clock (process start not
included), of CPU, and both as ratios to the first row. The ideal is requests x latency / in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from throughput import Server

Send = Callable[[dict[str, Any]], Awaitable[str]]

GUIDELINES = "# Guidelines are the same in every prompt, and longer than any sentence is.\n" * 38


def bodies(count: int) -> list[dict[str, Any]]:
    """Distinct chat requests of about 3 kB."""
    return [
        {
            "model": "empty",
            "messages": [{"role": "user", "content": f"{GUIDELINES}\ntext = {i}\nresult ="}],
            "temperature": 0,
            "max_tokens": 512,
        }
        for i in range(count)
    ]


async def pooled(requests: list[dict[str, Any]], send: Send, in_flight: int) -> None:
    """The loop that all transports share: ``in_flight`` workers and one list of requests."""
    source = iter(requests)

    async def worker() -> None:
        for body in source:
            assert '"choices"' in await send(body)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def raw_aiohttp(url: str, requests: list[dict[str, Any]], in_flight: int) -> None:
    """aiohttp without the SDK: the lower bound."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=in_flight)
    headers = {"Authorization": "Bearer none", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def send(body: dict[str, Any]) -> str:
            data = json.dumps(body, ensure_ascii=False).encode()
            async with session.post(f"{url}/chat/completions", data=data) as response:
                return await response.text()

        await pooled(requests, send, in_flight)


def through_sdk(*, on_aiohttp: bool, raw: bool) -> Callable[..., Awaitable[None]]:
    """The SDK on one of its HTTP clients, and its models or the raw responses."""

    async def run(url: str, requests: list[dict[str, Any]], in_flight: int) -> None:
        import httpx2
        import openai

        limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        transport = openai.DefaultAioHttpClient(limits=limits) if on_aiohttp else None
        async with openai.AsyncOpenAI(
            api_key="none", base_url=url, max_retries=0, http_client=transport
        ) as client:

            async def send(body: dict[str, Any]) -> str:
                if raw:
                    answer = await client.chat.completions.with_raw_response.create(**body)
                    return str(answer.text)
                return str((await client.chat.completions.create(**body)).to_json(indent=None))

            await pooled(requests, send, in_flight)

    return run


async def transport_alone(url: str, requests: list[dict[str, Any]], in_flight: int) -> None:
    """This package's transport, without rate limiter, retries and checks."""
    from harness.models.hosted.openai_settings import OpenAISettings
    from harness.models.hosted.transport import Transport, open_sdk_client

    transport = Transport(open_sdk_client(OpenAISettings(model="empty", base_url=url)))

    async def send(body: dict[str, Any]) -> str:
        return (await transport.post("/chat/completions", body, 120.0)).content.decode()

    await pooled(requests, send, in_flight)
    await transport.aclose()


async def harness_backend(url: str, requests: list[dict[str, Any]], in_flight: int) -> None:
    """What this package sends with: retries, slots, prices and checks included."""
    from harness.models import open_backend, settings_for
    from harness.records import Answer, Prompt

    settings = settings_for(
        "openai", {"model": "empty", "base_url": url, "concurrency": in_flight, "temperature": 0}
    )
    backend = open_backend(settings)
    prompts = (Prompt("", body["messages"][0]["content"], ("result",), "") for body in requests)
    answered = 0
    async for _, outcome in backend.answers((i, backend.request(p)) for i, p in enumerate(prompts)):
        assert isinstance(outcome, Answer), outcome
        answered += 1
    await backend.aclose()
    assert answered == len(requests)


WAYS: dict[str, Callable[..., Awaitable[None]]] = {
    "SDK as it comes": through_sdk(on_aiohttp=False, raw=False),
    "SDK as it comes, raw responses": through_sdk(on_aiohttp=False, raw=True),
    "SDK on aiohttp": through_sdk(on_aiohttp=True, raw=False),
    "SDK on aiohttp, raw responses": through_sdk(on_aiohttp=True, raw=True),
    "harness.models.hosted.client": harness_backend,
    "harness.models.hosted.transport": transport_alone,
    "bare aiohttp": raw_aiohttp,
}


def measure(way: str, url: str, count: int, in_flight: int) -> None:
    """Run one way in this process and print its seconds as JSON."""
    requests = bodies(count)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    asyncio.run(WAYS[way](url, requests, in_flight))  # type: ignore[arg-type]
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu}))


def main() -> None:
    """Start the server, run every way, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--only", action="append", help="a row's name, or part of it")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        measure(args.way, args.url, args.requests, args.in_flight)
        return
    server = Server(args.latency)
    try:
        ideal = args.requests * args.latency / args.in_flight
        print(f"{args.requests} requests, {args.in_flight} in flight; ideal {ideal:.2f} s")
        print(f"{'':34}{'wall s':>8}{'ratio':>7}{'cpu s':>8}{'ratio':>7}")
        first: dict[str, float] | None = None
        for way in WAYS:
            if args.only and not any(part in way for part in args.only):
                continue
            command = [sys.executable, __file__, "--way", way, "--url", server.url]
            command += ["--requests", str(args.requests), "--in-flight", str(args.in_flight)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            took = json.loads(done.stdout)
            first = first or took
            print(
                f"{way:34}{took['wall']:8.2f}{took['wall'] / first['wall']:7.2f}"
                f"{took['cpu']:8.2f}{took['cpu'] / first['cpu']:7.2f}",
                flush=True,
            )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
