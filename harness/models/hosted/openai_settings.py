"""The experiment file's keys for hosted models. The SDK is not imported: previews read them too."""

from __future__ import annotations

import json
import os
import re
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from harness.errors import UsageError, unknown_name_message
from harness.models.protocol import CallSettings, RateLimits
from harness.store.key import normalise_base_url

OPENAI_URL = "https://api.openai.com/v1"
# The program itself writes these into every request.
_RESERVED = frozenset({"model", "messages", "prompt", "stream", "n"})

#: The parameters that can be set by name, and omitted with ``drop``.
PARAMETERS = (
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "top_p",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
)
# Names of reasoning models. They accept no temperature, and max_completion_tokens instead of
# max_tokens (https://platform.openai.com/docs/guides/reasoning).
_REASONING = re.compile(
    r"(?:.*/)?(?:ft:)?(?:o[1-9]\d*(?:[-:].*)?|gpt-5(?![\d.]*-chat)(?:[-.:].*)?)"
)
_ANSWER_TOKENS = 512
# Hidden reasoning counts too.
_REASONING_TOKENS = 4096


def _default_url(values: dict[str, Any]) -> str:
    if values.get("provider") == "azure":
        return os.environ.get("AZURE_OPENAI_ENDPOINT", "")
    return os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


def _default_version(values: dict[str, Any]) -> str | None:
    return os.environ.get("OPENAI_API_VERSION") if values.get("provider") == "azure" else None


def _is_reasoning_model(values: dict[str, Any]) -> bool:
    name = values.get("model")
    known_name = isinstance(name, str) and _REASONING.fullmatch(name) is not None
    return known_name or values.get("reasoning_effort") is not None


def _default_key_env(values: dict[str, Any]) -> str:
    return "AZURE_OPENAI_API_KEY" if values.get("provider") == "azure" else "OPENAI_API_KEY"


class OpenAISettings(CallSettings):
    """The keys of ``backend = "openai"``.

    The server:

    - ``base_url``: default ``OPENAI_BASE_URL``, otherwise OpenAI itself.
    - ``provider``: an alias that stands for the URL in cache keys and prices. ``"azure"`` is Azure
      OpenAI, with ``base_url`` or ``AZURE_OPENAI_ENDPOINT`` as the resource.
    - ``api_version``: Azure's.
    - ``api_key_env``: the variable that holds the key. Organisation and project come from the
      SDK's own ``OPENAI_ORG_ID`` and ``OPENAI_PROJECT_ID``.

    The parameters of a request. One that is not set, or is named by ``drop``, is not sent:

    - ``temperature`` (0), ``max_tokens`` (512), ``top_p``, ``seed``, ``stop``, the two penalties,
      ``reasoning_effort``.
    - ``max_completion_tokens``: in place of ``max_tokens``.
    - ``extra_body``: whatever else the server accepts.

    A reasoning model is one with ``reasoning_effort``, or one that is known by its name. It gets
    no temperature unless one is given, and ``max_completion_tokens`` (4096) unless ``max_tokens``
    is given.

    How requests are sent; no part of a request:

    - ``mode``: ``"live"``, or ``"batch"`` for the server's batch endpoint.
    - ``concurrency`` (64).
    - ``rpm``, ``tpm``: requests and tokens a minute, shared by all systems with the same server
      and key.
    - ``timeout_s`` (120): for one attempt.
    - ``max_attempts`` (10, at least 8), ``backoff_s`` (0.5) before the second attempt.
    - ``poll_s`` (5): between the first two requests for the state of a batch.
    """

    backend: ClassVar[str] = "openai"

    provider: str | None = Field(default=None, min_length=1)
    base_url: str = Field(default_factory=_default_url, validate_default=True)
    api_version: str | None = Field(default_factory=_default_version)
    api_key_env: str = Field(default_factory=_default_key_env, validate_default=True)

    reasoning_effort: str | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(
        default_factory=lambda values: None if _is_reasoning_model(values) else 0.0, ge=0, le=2
    )
    max_tokens: int | None = Field(
        default_factory=lambda values: (
            None if values.get("max_completion_tokens") else _ANSWER_TOKENS
        ),
        ge=1,
    )
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    drop: tuple[str, ...] = Field(default=(), strict=False)

    mode: Literal["live", "batch"] = "live"
    rpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    timeout_s: float = Field(default=120.0, gt=0)
    max_attempts: int = Field(default=10, ge=8)
    backoff_s: float = Field(default=0.5, ge=0)
    poll_s: float = Field(default=5.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _budget(cls, values: Any) -> Any:
        if (
            isinstance(values, dict)
            and values.get("max_tokens") is None
            and values.get("max_completion_tokens") is None
            and _is_reasoning_model(values)
        ):
            return {**values, "max_completion_tokens": _REASONING_TOKENS}
        return values

    @field_validator("base_url")
    @classmethod
    def _normalised(cls, url: str) -> str:
        if not url:
            raise ValueError('provider = "azure" needs `base_url` or AZURE_OPENAI_ENDPOINT')
        parts = urlsplit(url.strip())
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise ValueError("not a URL. Write it as https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a URL without user, password, query and fragment is needed")
        try:
            return normalise_base_url(url)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("api_key_env")
    @classmethod
    def _is_variable(cls, name: str) -> str:
        if not (name.isascii() and name.isidentifier()):
            raise ValueError("the name of an environment variable is needed here, never a key")
        return name

    @field_validator("extra_body")
    @classmethod
    def _is_json(cls, extra: dict[str, Any]) -> dict[str, Any]:
        own = sorted(extra.keys() & (_RESERVED | cls.model_fields.keys()))
        if own:
            raise ValueError(f"{', '.join(own)} cannot be given here")
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("only what JSON can hold can be sent") from None
        return extra

    @field_validator("drop")
    @classmethod
    def _are_parameters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in PARAMETERS:
                raise ValueError(unknown_name_message("parameter", name, PARAMETERS))
        return names

    @model_validator(mode="after")
    def _together(self) -> OpenAISettings:
        if self.provider == "azure" and not self.api_version:
            raise ValueError('provider = "azure" needs `api_version` or OPENAI_API_VERSION')
        if self.max_tokens and self.max_completion_tokens:
            raise ValueError("give one of max_tokens and max_completion_tokens")
        return self

    @property
    def endpoint(self) -> str:
        """What stands for the server in cache keys and prices."""
        if self.provider == "azure":
            # The name of a deployment is unique only within its resource.
            return f"{self.base_url}?api-version={self.api_version}"
        return self.provider or ("openai" if self.base_url == OPENAI_URL else self.base_url)

    @property
    def rate_limits(self) -> RateLimits:
        """``rpm`` and ``tpm``."""
        return RateLimits(self.rpm, self.tpm)

    @property
    def address(self) -> tuple[str, ...]:
        """Equal for systems that share a server, its limits and a key."""
        azure = self.api_version or "" if self.provider == "azure" else ""
        return self.base_url, azure, self.api_key_env

    @property
    def parameters(self) -> dict[str, Any]:
        """The part of every request's body that does not depend on the prompt."""
        given = {name: getattr(self, name) for name in PARAMETERS if name not in self.drop}
        # 0 and 0.0 are the same request.
        whole = {n: int(v) for n, v in given.items() if isinstance(v, float) and v.is_integer()}
        return {n: v for n, v in (given | whole).items() if v is not None} | self.extra_body
