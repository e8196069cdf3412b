"""Keeping secrets out of messages and stored answers: keys, passwords, names of accounts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from harness.store.key import CREDENTIAL_PARTS

_REPLACEMENT = "[hidden]"
_LONGEST_MESSAGE = 300
# A shorter secret would also match parts of ordinary words.
_SHORTEST_SECRET = 6
# Ordinary words. Text with this many letters is no word.
_WORDS = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)*")
_LONGER_THAN_WORDS = 16
_KEY_LIKE = re.compile(r"\bsk-[\w-]{6,}|(?i:\bbearer)\s+[^\s\"',}]+")


def known_secrets(key: str, *, for_answers: bool = False) -> tuple[str, ...]:
    """Every secret that a request may carry: the key, and what the environment adds to it.

    The secrets to remove from an answer (``for_answers``) exclude those that may be words or names
    in it. A value counts there only if it has a digit or punctuation or 16 letters. A value of a
    header whose name does not say that it is a credential counts only if both hold.
    """
    from urllib.request import getproxies

    secrets = [
        key,
        os.environ.get("OPENAI_ADMIN_KEY", ""),
        os.environ.get("AZURE_OPENAI_AD_TOKEN", ""),
        os.environ.get("OPENAI_ORG_ID", ""),
        os.environ.get("OPENAI_PROJECT_ID", ""),
    ]
    secrets += [_password(proxy) for proxy in getproxies().values()]
    header_values: list[str] = []
    for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, _, value = line.partition(":")
        is_credential = any(part in name.lower() for part in CREDENTIAL_PARTS)
        value = value.strip()
        (secrets if is_credential else header_values).extend([value, value.split(" ")[-1]])
    if for_answers:
        secrets = [s for s in secrets if _is_long(s) or not _WORDS.fullmatch(s)]
        header_values = [s for s in header_values if _is_long(s) and not _WORDS.fullmatch(s)]
    secrets += header_values
    # As JSON may spell them: PHP escapes every slash.
    secrets += [
        json.dumps(secret)[1:-1].replace("/", slash) for secret in secrets for slash in ("/", r"\/")
    ]
    # The longest first, so that no part of a longer one remains.
    return tuple(sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True))


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced by ``[hidden]``."""
    for secret in secrets:
        text = text.replace(secret, _REPLACEMENT)
    return text


def redact_line(message: str, secrets: Iterable[str]) -> str:
    """One printable line of at most 300 characters, without secrets and what looks like a key."""
    message = _KEY_LIKE.sub(_REPLACEMENT, redact(message, secrets))
    message = "".join(c if c.isprintable() else " " for c in message[: 4 * _LONGEST_MESSAGE])
    message = " ".join(message.split())
    too_long = len(message) > _LONGEST_MESSAGE
    return message[: _LONGEST_MESSAGE - 1] + "…" if too_long else message


def _is_long(secret: str) -> bool:
    return len(secret) >= _LONGER_THAN_WORDS


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
