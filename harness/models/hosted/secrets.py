"""What must never be shown or stored: keys, passwords, account names. And taking them out."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.store.key import CREDENTIAL_PARTS

if TYPE_CHECKING:
    pass


HIDDEN = "[hidden]"


_LONGEST_MESSAGE = 300


# Plain words; one that has so many letters is none.
_WORDS = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)*")


_NO_WORD = 16


_KEY_LIKE = re.compile(r"\bsk-[\w-]{6,}|(?i:\bbearer)\s+[^\s\"',}]+")


def secrets(key: str, *, stored: bool = False) -> tuple[str, ...]:
    """Everything secret that may be sent: the key, and what the environment adds to it.

    For what is ``stored`` less all that may as well be a word of an answer, or a name: there only
    what holds a digit or punctuation or is 16 letters long counts, and under a header whose name
    is not a credential's only what is both.
    """
    from urllib.request import getproxies

    found = [
        key,
        os.environ.get("OPENAI_ADMIN_KEY", ""),
        os.environ.get("AZURE_OPENAI_AD_TOKEN", ""),
        os.environ.get("OPENAI_ORG_ID", ""),
        os.environ.get("OPENAI_PROJECT_ID", ""),
    ]
    found += [_password(proxy) for proxy in getproxies().values()]
    other: list[str] = []
    for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, _, value = line.partition(":")
        credential = any(part in name.lower() for part in CREDENTIAL_PARTS)
        value = value.strip()
        (found if credential else other).extend([value, value.split(" ")[-1]])
    if stored:
        found = [s for s in found if len(s) >= _NO_WORD or not _WORDS.fullmatch(s)]
        other = [s for s in other if len(s) >= _NO_WORD and not _WORDS.fullmatch(s)]
    found += other
    # As JSON may spell them: PHP escapes every slash.
    found += [json.dumps(s)[1:-1].replace("/", spelt) for s in found for spelt in ("/", r"\/")]
    # Longest first, so that no secret survives in part; a very short one would blot out words.
    return tuple(sorted({s for s in found if len(s) >= 6}, key=len, reverse=True))


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def clean(message: str, hidden: Iterable[str]) -> str:
    """One short printable line without secrets."""
    for secret in hidden:
        message = message.replace(secret, HIDDEN)
    message = _KEY_LIKE.sub(HIDDEN, message)
    message = "".join(c if c.isprintable() else " " for c in message[: 4 * _LONGEST_MESSAGE])
    message = " ".join(message.split())
    cut = len(message) > _LONGEST_MESSAGE
    return message[: _LONGEST_MESSAGE - 1] + "…" if cut else message
