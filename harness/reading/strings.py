"""The tokens of a reply, and its strings, whose quotes may be wrong.

Every pattern runs in linear time. Repetitions are possessive, so that they never backtrack, and
lookaheads stop at the next quote or bracket.

Models often do not escape the quotes inside a string. Therefore a quote closes a string only if
the text behind it can follow a string in that place. In ``Person(span="the "old" town")`` a word
follows the second quote, so that the string goes on; the end of the annotation follows the last.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from harness.reading.repairs import RepairNotes

# NUL, the byte order mark and invisible characters count as white space.
SPACE = r"[\s\x00\ufeff\u200b-\u200f\u2060]*+"
NAME = r"[^\W\d]\w*+(?:\.[^\W\d]\w*+)*+"

# Quotes by family. Any quote of a family may close a string that another one of it opens.
_FAMILIES = {"double": '"“”„‟″〝〞＂', "single": "'‘’‚‛′`´", "angle": "«»‹›"}
_FAMILY_OF = {quote: family for family, quotes in _FAMILIES.items() for quote in quotes}
_QUOTES = "".join(_FAMILIES.values())
QUOTE = rf"[bBuUfFrR]{{0,2}}+\\?+[{_QUOTES}]"

# A string literal of Python.
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

# An argument without quotes, of at most 120 characters, up to a comma or a parenthesis.
UNQUOTED = re.compile(
    rf"(?P<value>[^\s{_QUOTES}(),\[\]{{}}=:#][^{_QUOTES}(),\[\]{{}}=:#\n]{{0,119}}+)(?=[,)])"
)
ATOM = re.compile(r"None|null|True|False|true|false|\.\.\.|[-+]?+\.?+\d[\w.]*+")


def _follows() -> dict[str, str]:
    """A regular expression of what may follow a string, by place.

    ``k``: the value of a keyword; ``p``: a positional argument; ``l``: an element of a list;
    ``d``: a key or a value of a dict; ``s``: a statement's whole value.
    """
    atom = rf"(?:None|null|True|False|true|false|\.\.\.|[-+]?+\.?+\d[\w.]*+)(?={SPACE}[,)\]}}])"
    element = rf"{QUOTE}|{atom}|[\[{{(]"
    # The end of the line, punctuation or the next element follows a closing bracket.
    done = rf"(?=[ \t]*+(?:\r?\n|\Z)|{SPACE}(?:[,)\]}}\#;`<]|{NAME}{SPACE}[(=]))"
    closing = rf"\Z|[)\]}}]{done}"
    # A comment counts only if code follows it.
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
def _ending(family: str, place: str) -> re.Pattern[str]:
    """The pattern of the end of a string with wrong quotes.

    ``close``: a quote of the family that can close the string. ``missing``: the parenthesis that
    ends the annotation; another annotation or the end of the list follows it. ``statement``: a
    line that begins a new list. ``pair``: a backslash and a character, which end nothing.

    A pattern is compiled when it is first needed: most replies need none of the twenty, and each
    takes milliseconds.
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
# The most adjacent literals that make one string. The limit bounds the time.
_MOST_ADJACENT = 8


def decode(body: str, prefix: str | None, notes: RepairNotes) -> str:
    """The characters of a string, from the text between its quotes, as Python decodes it.

    Escapes that Python rejects stay as written. So do escapes of half a character (a lone
    surrogate), because no UTF-8 file can hold one.
    """
    if prefix:
        if prefix.strip("uUrR"):
            notes["string_prefix"] = None
        if "r" in prefix.lower():
            return body
    if "\\" not in body:
        return body

    def character(escape: re.Match[str]) -> str:
        kind = escape.lastgroup
        if kind is None:  # Python leaves an unknown escape such as \d as it is.
            return escape[0]
        value = escape[kind]
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
        return escape[0]

    value = _ESCAPE.sub(character, body)
    if _HALF.search(value) and not _HALF.search(body):
        if _PAIR.search(value):
            notes["surrogate_pair"] = None
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if _HALF.search(value):
            notes["bad_escape"] = None
            value = _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", value)
    return value


class StringReader:
    """Reads the strings of one text; the time for all of them is linear in its length."""

    def __init__(self, text: str, notes: RepairNotes) -> None:
        self._text = text
        self._notes = notes
        # By family and place: where the last search began, and its match (None: no match).
        # A later search has the same match, unless it begins behind that match.
        self._searches: dict[tuple[str, str], tuple[int, re.Match[str] | None]] = {}

    def read(self, start: int, place: str) -> tuple[str | None, int]:
        """The string whose prefix or quote is at ``start``, and the position behind it.

        ``place`` is a key of :data:`FOLLOW`. The string is ``None`` if it is cut: the text ends
        inside it, or another statement begins.
        """
        literal = self._literals(start, place)
        if literal is not None:
            return literal
        opening = _OPENING.match(self._text, start)
        assert opening is not None, "a string is read where a quote is"
        begin = opening.end()
        quote = self._text[begin - 1]
        escaped = opening["backslash"] != ""
        ending = self._search("escaped" if escaped else _FAMILY_OF[quote], place, begin)
        if ending is None or ending.lastgroup == "statement":
            # No quote closes the string in this place, but it may be a literal of Python.
            if plain := _LITERAL.match(self._text, start):
                return self._decode(plain), plain.end()
            return None, ending.start() if ending else len(self._text)
        body = self._text[begin : ending.start()]
        closing = ending[0][-1] if ending.lastgroup == "close" else ""
        if closing and (closing in body or (quote in "\"'" and closing != quote)):
            # At the end of the text, such a quote may stand inside a string that is cut.
            blank = _BLANK.match(self._text, ending.end())
            if blank and blank.end() == len(self._text):
                return None, len(self._text)
        self._note(body, quote, closing, escaped)
        if not closing:
            return decode(body.rstrip(), opening["prefix"], self._notes), ending.start()
        return decode(body, opening["prefix"], self._notes), ending.end()

    def _literals(self, start: int, place: str) -> tuple[str, int] | None:
        """A string of adjacent Python literals, if the text behind them can follow a string."""
        parts: list[re.Match[str]] = []
        while len(parts) < _MOST_ADJACENT:
            part = _LITERAL.match(self._text, start)
            # A letter between two strings is part of the text (vitamin "B"), not a prefix.
            if part is None or (parts and part["prefix"]):
                return None
            parts.append(part)
            if FOLLOW[place].match(self._text, part.end()):
                return "".join(self._decode(part) for part in parts), part.end()
            blank = _BLANK.match(self._text, part.end())
            start = blank.end() if blank else part.end()
        return None

    def _search(self, family: str, place: str, begin: int) -> re.Match[str] | None:
        """The first match from ``begin`` of a pattern of endings, other than a ``pair``."""
        if (family, place) in self._searches:
            last_begin, ending = self._searches[family, place]
            if last_begin <= begin and (ending is None or begin <= ending.start()):
                return ending
        matches = _ending(family, place).finditer(self._text, begin)
        ending = next((match for match in matches if match.lastgroup != "pair"), None)
        self._searches[family, place] = begin, ending
        return ending

    def _decode(self, literal: re.Match[str]) -> str:
        kind = literal.lastgroup
        assert kind is not None, "each kind of literal has a group"
        body = literal[kind]
        if kind.startswith("triple"):  # Python reads every line end as "\n".
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
