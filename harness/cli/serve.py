"""`harness serve`: a model of this machine, or the script, behind OpenAI's protocol."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any

import typer

from harness.errors import UsageError


def serve(
    backend: Annotated[
        str, typer.Option("--backend", help="What answers: ctranslate2, transformers or scripted.")
    ] = "scripted",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Its model: a name, a hub name or a folder; a rule of the script."
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the backend, as in an experiment file: device=cpu, max_tokens=256, "
            "latency_s=0.2, …",
        ),
    ] = None,
) -> None:
    """Serve a model over an OpenAI-compatible server on this machine."""
    from harness.models import settings_for
    from harness.serving.server import serve as serve_backend

    values: dict[str, Any] = {} if model is None else {"model": model}
    for pair in set_ or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"--set {pair}: write it as NAME=VALUE.")
        if name == "model" and model is not None:
            raise UsageError("--set model: the model is given by --model already.")
        values[name] = _value(value)
    settings = settings_for(backend, values, where=f"serve --backend {backend}")
    serve_backend(settings, host=host, port=port)


def _value(text: str) -> Any:
    """A value as an experiment file has it, where quotes may be left out."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
