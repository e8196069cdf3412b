"""The API key of a server, read from the environment."""

from __future__ import annotations

import os

from harness.errors import CredentialsError
from harness.models.hosted.openai_settings import OPENAI_URL, OpenAISettings


def read_api_key(settings: OpenAISettings) -> str:
    """The API key that these settings name, empty if none is needed.

    Raises:
        CredentialsError: the server needs a key and there is none, or the variable holds no key.
    """
    variable, azure = settings.api_key_env, settings.provider == "azure"
    key = os.environ.get(variable, "").strip()
    if key:
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise CredentialsError(f"{variable} does not hold a key: it has spaces or odd letters.")
        return key
    own_server = not azure and settings.base_url != OPENAI_URL
    has_token = azure and os.environ.get("AZURE_OPENAI_AD_TOKEN")
    if has_token or (own_server and variable == "OPENAI_API_KEY"):
        return ""
    server = settings.base_url if azure or own_server else "OpenAI"
    raise CredentialsError(
        f"No key for {server}: set the environment variable {variable} (export {variable}=…), "
        f"name another with api_key_env, or use a server of your own with base_url."
    )
