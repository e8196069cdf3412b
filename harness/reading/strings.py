"""The words of a reply: tokens, and strings whose quotes may be wrong.

Every pattern runs in linear time: repetitions are possessive, so that none can backtrack into
what another has taken, and lookaheads stop at the next quote or bracket.

What makes strings hard is that models do not escape the quotes inside them. A quote therefore
closes a string only where what follows can follow a string in that place: in
``Person(span="the "old" town")`` the second quote is followed by a word, the last by the
end of the annotation.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from harness.reading.repairs import RepairNotes

# NUL, the byte order mark and invisible characters count as white space, which never matters.
SPACE = r"[\s\x00\ufeff\u200b-\u200f\u2060]*+"
NAME = r"[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+"

# Quotes by family: a string that one of a family opens, any of the family may close.
_FAMILIES = {"double": '"“”„‟″〝〞＂', "single": "'‘’‚‛′`´", "angle": "«»‹›"}
_FAMILY_OF = {quote: family for family, quotes in _FAMILIES.items() for quote in quotes}
_QUOTES = "".join(_FAMILIES.values())
QUOTE = rf"[bBuUfFrR]{{0,2}}+\\?+[{_QUOTES}]"

# A string as Python has it.
_PREFIX = r"(?P<prefix>[bBuUfFrR]{1,2}+)?+"
_PLAIN = r"""
    "(?!"")(?P<double>[^"\\\n\r]*+(?:\\(?:\r\n|.)[^"\\\n\r]*+)*+)"
  | '(?!'')(?P<single>[^'\\\n\r]*+(?:\\(?:\r\n|.)[^'\\\n\r]*+)*+)'
"""
_LITERAL = re.compile(
    rf"""{_PREFIX}(?:{_PLAIN}
  | \"\"\"(?P<triple>(?:[^"\\]++|\\.|"(?!""))*+)\"\"\"
  | '''(?P<tripled>(?:[^'\\]++|\\.|'(?!''))*+)'''
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(SPACE)
_OPENING = re.compile(rf"(?P<prefix>[bBuUfFrR]{{0,2}}+)(?P<backslash>\\?+)[{_QUOTES}]")

TOKEN = re.compile(
    rf"""{SPACE}(?:
    (?<!\w){_PREFIX}(?:{_PLAIN})
  | (?P<fence>```)
  | (?<!\w)(?P<quote>{QUOTE})
  | (?P<name>{NAME}){SPACE}(?:(?P<call>\()|(?P<key>=(?!=)))?+
  | (?P<bracket>[\[\](){{}}])
  | (?P<comma>,)
  | (?P<colon>:)
  | (?P<skip>\#[^\r\n]*+|\\\r?\n)
  | (?P<other>[-+]?+\.?+\d[\w.]*+|\.\.\.|.)
  | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)

# An argument without quotes, up to what ends it; no longer than a span can be.
UNQUOTED = re.compile(
    rf"(?P<value>[^\s{_QUOTES}(),\[\]{{}}=:#][^{_QUOTES}(),\[\]{{}}=:#\n]{{0,119}}+)(?=[,)])"
)
ATOM = re.compile(r"None|null|True|False|true|false|\.\.\.|[-+]?+\.?+\d[\w.]*+")


def _follows() -> dict[str, str]:
    """What may follow a string, by place.

    ``k``: the value of a keyword; ``p``: a positional argument; ``l``: an element of a list;
    ``d``: a key or a value of a dict; ``s``: a statement's whole value.
    """
    atom = rf"(?:None|null|True|False|true|false|\.\.\.|[-+]?+\.?+\d[\w.]*+)(?={SPACE}[,)\]}}])"
    element = rf"{QUOTE}|{atom}|[\[{{(]"
    # After a closing bracket: the end of the line, or punctuation, or the next element.
    done = rf"(?=[ \t]*+(?:\r?\n|\Z)|{SPACE}(?:[,)\]}}\#;`<]|{NAME}{SPACE}[(=]))"
    closing = rf"\Z|[)\]}}]{done}"
    # A comment counts only if after it the code goes on.
    comment = rf"(?:\#[^\r\n]{{0,300}}+[\r\n]{SPACE}){{1,9}}+"
    argument = rf",{SPACE}(?:\Z|{NAME}{SPACE}[=(:]|[)\]}}\#,])|{NAME}{SPACE}=|{comment}[,)]"
    call_on_next_line = rf"[ \t]*+\r?\n{SPACE}{NAME}{SPACE}\("
    keyword = rf"(?:{call_on_next_line}|{SPACE}(?:{closing}|{argument}))"
    return {
        "k": keyword,
        "p": rf"(?:{keyword}|{SPACE}(?:,{SPACE}(?:{element})|:{SPACE}(?:{QUOTE}|[\[{{])))",
        "l": rf"{SPACE}(?:{closing}|{comment}[,\]]"
        rf"|,{SPACE}(?:\Z|{element}|{NAME}{SPACE}[(,\]]|[)\]}}\#]))",
        "d": rf"{SPACE}(?:{closing}|{comment}[,:}}]|:{SPACE}(?:\Z|{element}|{NAME}{SPACE}\()"
        rf"|,{SPACE}(?:\Z|{QUOTE}|[)\]}}\#]|{NAME}{SPACE}[:=]))",
        "s": r"[ \t]*+(?:\r?\n|\Z|;|\#)",
    }


_FOLLOWS = _follows()
FOLLOW = {place: re.compile(follow) for place, follow in _FOLLOWS.items()}


@cache
def _closing(family: str, place: str) -> re.Pattern[str]:
    """Where a string with wrong quotes ends, whichever comes first.

    At a quote of its family that can close it; or, if that quote is missing, before the
    parenthesis that ends the annotation (another one or the list's end follows), or before a
    line that begins a new list. Pairs of a backslash and a character are passed over. Compiled
    when it is first needed: most replies need none of the twenty, and each takes milliseconds.
    """
    quote = rf"[{_FAMILIES[family]}]" if family in _FAMILIES else rf"\\[{_QUOTES}]"
    annotation = rf"{NAME}{SPACE}\({SPACE}(?:{NAME}{SPACE}={SPACE})?+{QUOTE}"
    return re.compile(
        rf"(?P<close>{quote})(?={_FOLLOWS[place]})"
        rf"|(?P<pair>\\.)"
        rf"|(?P<missing>\){SPACE}(?:,{SPACE})?+(?=\][ \t]*+(?:\r?\n|\Z)|{annotation}))"
        rf"|(?P<statement>\n[ \t]*+(?:```|{NAME}[ \t]*+=[ \t]*+\[))",
        re.DOTALL,
    )


_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\'\"])|(?P<line>\r?\n)|(?P<octal>[0-7]{1,3})"
    r"|x(?P<x>[0-9A-Fa-f]{2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<U>[0-9A-Fa-f]{8})"
    r"|N\{(?P<name>[^{}\n]{1,100}+)\}|(?P<bad>[xuUN])?+)"
)
_PLAIN_ESCAPES = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")
# A string of adjacent literals is followed no further than this, which bounds the time.
_MOST_ADJACENT = 8


def decode(body: str, prefix: str | None, notes: RepairNotes) -> str:
    """The characters that a string's body stands for, decoded as Python does.

    Sequences that Python refuses are kept as written, and so are escapes that stand for half a
    character, which no file could hold.
    """
    if prefix:
        if prefix.strip("uUrR"):
            notes["string_prefix"] = None
        if "r" in prefix.lower():
            return body
    if "\\" not in body:
        return body

    def character(found: re.Match[str]) -> str:
        kind = found.lastgroup
        if kind is None:  # An unknown escape such as \d is what it looks like.
            return found[0]
        value = found[kind]
        if kind == "plain":
            return _PLAIN_ESCAPES[value]
        if kind == "line":
            return ""
        if kind == "octal":
            return chr(int(value, 8))
        try:
            if kind == "name":
                return unicodedata.lookup(value)
            if kind != "bad":
                return chr(int(value, 16))
        except (KeyError, ValueError, OverflowError):
            pass
        notes["bad_escape"] = None
        return found[0]

    decoded = _ESCAPE.sub(character, body)
    if _HALF.search(decoded) and not _HALF.search(body):
        if _PAIR.search(decoded):
            notes["surrogate_pair"] = None
            decoded = decoded.encode("utf-16-le", "surrogatepass").decode(
                "utf-16-le", "surrogatepass"
            )
        if _HALF.search(decoded):
            notes["bad_escape"] = None
            decoded = _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", decoded)
    return decoded


class StringReader:
    """Reads the strings of one text, in time linear in its length over all of them."""

    def __init__(self, text: str, notes: RepairNotes) -> None:
        self._text = text
        self._notes = notes
        # By kind of search: where it began, and what it found (None: nothing up to the end).
        # A later search of that kind finds the same unless it begins behind it.
        self._found: dict[tuple[str, str], tuple[int, re.Match[str] | None]] = {}

    def read(self, start: int, place: str) -> tuple[str | None, int]:
        """The string whose prefix or quote is at ``start``, and the position behind it.

        ``place`` is a key of :data:`FOLLOW`. The string is ``None`` where it is cut: the text
        ends inside it, or another statement begins.
        """
        literal = self._literals(start, place)
        if literal is not None:
            return literal
        opening = _OPENING.match(self._text, start)
        assert opening is not None, "a string is read where a quote is"
        begin = opening.end()
        quote = self._text[begin - 1]
        escaped = opening["backslash"] != ""
        found = self._search("escaped" if escaped else _FAMILY_OF[quote], place, begin)
        if found is None or found.lastgroup == "statement":
            # Behind no quote is there anything that could follow a string here.
            if plain := _LITERAL.match(self._text, start):
                return self._decode(plain), plain.end()
            return None, found.start() if found else len(self._text)
        body = self._text[begin : found.start()]
        closing = found[0][-1] if found.lastgroup == "close" else ""
        if closing and (closing in body or (quote in "\"'" and closing != quote)):
            # An odd quote where the text ends may as well be one inside a string that is cut.
            blank = _BLANK.match(self._text, found.end())
            if blank and blank.end() == len(self._text):
                return None, len(self._text)
        self._note(body, quote, closing, escaped)
        if not closing:
            return decode(body.rstrip(), opening["prefix"], self._notes), found.start()
        return decode(body, opening["prefix"], self._notes), found.end()

    def _literals(self, start: int, place: str) -> tuple[str, int] | None:
        """One or more adjacent literals as Python has them, if what follows them fits."""
        parts: list[re.Match[str]] = []
        while len(parts) < _MOST_ADJACENT:
            part = _LITERAL.match(self._text, start)
            # A letter between two strings is a word of theirs, say a vitamin, and no prefix.
            if part is None or (parts and part["prefix"]):
                return None
            parts.append(part)
            if FOLLOW[place].match(self._text, part.end()):
                return "".join(self._decode(part) for part in parts), part.end()
            blank = _BLANK.match(self._text, part.end())
            start = blank.end() if blank else part.end()
        return None

    def _search(self, family: str, place: str, begin: int) -> re.Match[str] | None:
        """The first match of a closing pattern, other than an escaped pair, from ``begin``."""
        if (family, place) in self._found:
            earlier, found = self._found[family, place]
            if earlier <= begin and (found is None or begin <= found.start()):
                return found
        matches = _closing(family, place).finditer(self._text, begin)
        found = next((match for match in matches if match.lastgroup != "pair"), None)
        self._found[family, place] = begin, found
        return found

    def _decode(self, literal: re.Match[str]) -> str:
        kind = literal.lastgroup
        assert kind is not None, "each way to write a literal has a group"
        body = literal[kind]
        if kind.startswith("triple"):  # Python reads every end of line as a newline.
            body = body.replace("\r\n", "\n").replace("\r", "\n")
        return decode(body, literal["prefix"], self._notes)

    def _note(self, body: str, quote: str, closing: str, escaped: bool) -> None:
        notes = self._notes
        if escaped:
            notes["escaped_quotes"] = None
        elif quote not in "\"'" or closing not in "\"'":
            notes["smart_quotes"] = None
        if not closing:
            notes["unclosed_string"] = None
        if "\n" in body or "\r" in body:
            notes["raw_newline"] = None
        if re.search(rf"(?<!\\)[{re.escape(quote + closing)}]", body):
            notes["unescaped_quote"] = None
