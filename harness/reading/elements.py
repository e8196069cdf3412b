"""The elements of a list as annotations of the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.reading.brackets import BareWord, BracketNode, KeyedNode, Node
from harness.reading.repairs import RepairNotes
from harness.records import Annotation, Dropped, FieldValue
from harness.shapes import REQUIRED, SCALARS, SPAN

# Why an element is no annotation: the closed list of ``Dropped.reason``.
DROP_REASONS = ("unknown_class", "not_an_annotation", "bad_value", "missing_field", "incomplete")


_TYPE_KEYS = frozenset({"type", "class", "label"})
_LONGEST_ITEM = 200


class AnnotationBuilder:
    """Makes annotations of the values of one text.

    ``fields`` maps a class to its fields in order; ``None`` accepts any class with any fields,
    where a positional argument is the ``span``. ``json``: the answer was asked for as JSON, where
    objects with their class under ``type`` are nothing to put right.
    """

    def __init__(
        self,
        text: str,
        fields: Mapping[str, tuple[str, ...]] | None,
        notes: RepairNotes,
        *,
        json: bool = False,
    ) -> None:
        self.dropped: list[Dropped] = []
        self._json = json
        self._text = text
        self._fields = fields
        self._notes = notes
        self._folded: dict[str, str] | None = None

    def is_class(self, name: str) -> bool:
        """Whether the name can be that of a class, in whatever case it is written."""
        if self._fields is None:
            return name.rpartition(".")[2][:1].isupper()
        return self._class(name) is not None

    def is_field(self, name: str, field: str) -> bool:
        """Whether the class of that name has the field."""
        known = self._class(name)
        return self._fields is not None and known is not None and field in self._fields[known]

    def any_annotation(self, group: BracketNode) -> bool:
        """Whether some element is an annotation, be its class known or not."""
        stack: list[Node] = [group]
        while stack:
            value = stack.pop()
            if isinstance(value, BracketNode):
                if value.name:
                    return True
                if is_object(value) and (self.type_of(value) or self._names_classes(value)):
                    return True
                stack.extend(item for _, item in value.items)
        return False

    def annotations(self, group: BracketNode, stage: str) -> tuple[Annotation, ...]:
        """The annotations of one list, in order; what is none is added to ``dropped``."""
        found: list[Annotation] = []
        # The last word of a list that is cut may be the beginning of anything.
        cut = None if group.closed or group.fresh or not group.items else group.items[-1][1]
        # What is still to be read, the next one last, with the class that an object around it
        # gave. Nesting has no limit, hence no recursion.
        stack: list[KeyedNode] = [(None, group)]
        while stack:
            name, value = stack.pop()
            # An annotation, or why there is none, or nothing where elements were unpacked.
            made: Annotation | str | None = None
            typed: KeyedNode | None
            if isinstance(value, str):
                made = self._build(name, [(None, value)]) if name else "not_an_annotation"
            elif isinstance(value, BareWord):
                if name and is_nothing(self._text, value):
                    self._notes["none_list"] = None
                else:
                    made = "incomplete" if value is cut else "not_an_annotation"
            elif value.name:
                made = self._build(value.name, value.items, value)
            elif not is_object(value):
                if value is not group:
                    self._notes["nested_list" if name is None else "json"] = None
                elif value.bracket != "[":
                    self._notes["other_brackets"] = None
                stack.extend((name, element) for _, element in reversed(value.items))
            elif (typed := None if name else self.type_of(value)) or name:
                kind = name or str(typed and typed[1])
                if not (self._json and typed and typed[0] == "type" and value is not group):
                    self._notes["json"] = None
                made = self._build(kind, self._given(kind, value, typed), value)
            elif self._names_classes(value):
                self._notes["json"] = None
                stack.extend(reversed(value.items))
            elif self._json and value is not group and not value.closed:
                made = "incomplete"
            elif value is group or any(
                isinstance(element, BracketNode) for _, element in value.items
            ):
                self._notes["json"] = None
                stack.extend((None, element) for _, element in reversed(value.items))
            else:
                made = "not_an_annotation"
            if isinstance(made, Annotation):
                found.append(made)
            elif made is not None:
                self.dropped.append(Dropped(stage, made, self._source(value)))
        return tuple(found)

    def _build(
        self, written: str, items: Sequence[KeyedNode], group: BracketNode | None = None
    ) -> Annotation | str:
        """The annotation of a class as written with these arguments, or why there is none."""
        name = self._class(written)
        if name is None:
            return "unknown_class"
        if name != written:
            self._notes["qualified_name" if "." in written else "class_case"] = None
        names = None if self._fields is None else self._fields[name]
        whole = group is None or group.closed
        if whole and len(items) == 1 and names == (SPAN,):  # The common case, for speed.
            key, value = items[0]
            if (key is None or key == SPAN) and isinstance(value, str):
                return Annotation(name, {SPAN: value})
        if group is not None and not whole and _is_cut(group):
            return "incomplete"
        called = group is not None and group.name != ""
        values, reason = self._arguments(names, items, loose=not called)
        if not whole:
            if reason or len(values) < max(len(names or ()), len(items)):
                return "incomplete"
            self._notes["unclosed_call"] = None
        if reason:
            return reason
        if names is not None:
            for field in names:
                if field not in values:
                    self._notes["missing_role"] = None
                    values[field] = "" if field in SCALARS else ()
            values = {field: values[field] for field in names}
        return Annotation(name, values)

    def _arguments(
        self, names: tuple[str, ...] | None, items: Sequence[KeyedNode], *, loose: bool
    ) -> tuple[dict[str, FieldValue], str]:
        """The values by field, and why they make no annotation, or the empty string.

        ``loose``: further keys, as JSON objects tend to have, are no fault.
        """
        values: dict[str, FieldValue] = {}
        others: list[Node] = []
        reason = ""
        order = (SPAN,) if names is None else names
        # JSON objects say "text" for "span" often enough.
        given = {key for key, _ in items}
        alias = "text" if loose and SPAN in order and SPAN not in given else None
        position = 0
        for key, value in items:
            field: str | None
            if key is None:
                field = order[position] if position < len(order) else None
                position += 1
            elif names is None or key in names:
                field = key
            else:
                field = SPAN if key == alias else None
                if field and self._json:
                    self._notes["renamed_field"] = None
            if field is None or field in values:
                others.append(value)
                continue
            read = self._value(field, value, free=names is None)
            if read is None:
                reason = "bad_value"
            else:
                values[field] = read
        strings = [value for value in others if isinstance(value, str)]
        only = order[0] if len(order) == 1 and order[0] in SCALARS else None
        if only and not values and not reason and len(strings) == 1:
            self._notes["renamed_field"] = None
            others.remove(strings[0])
            values[only] = strings[0]
        if others and (self._json or not loose):
            self._notes["extra_field"] = None
        required = [field for field in order if field in REQUIRED]
        if names is None and values:
            required = []
        if not reason and any(field not in values for field in required):
            reason = "missing_field"
        return values, reason

    def _value(self, field: str, value: Node, *, free: bool) -> FieldValue | None:
        """A field's value, or ``None`` where it is none. ``free``: roles may be scalars."""
        elements = (
            [element for _, element in value.items]
            if isinstance(value, BracketNode) and not value.name and value.bracket != "{"
            else None
        )
        if field in SCALARS:
            if elements is not None and len(elements) == 1 and isinstance(elements[0], str):
                self._notes["list_scalar"] = None
                return elements[0]
            return value if isinstance(value, str) else None
        if isinstance(value, str):
            if free:
                return value
            self._notes["scalar_role"] = None
            return (value,)
        if elements is not None:
            fillers = tuple(element for element in elements if isinstance(element, str))
            if len(fillers) < len(elements):
                self._notes["bad_filler"] = None
            return fillers
        nothing = isinstance(value, BareWord) and is_nothing(self._text, value)
        self._notes["none_list" if nothing else "bad_filler"] = None
        return ()

    def _class(self, written: str) -> str | None:
        """The schema's class of that name, in any case and with any module before it."""
        name = written.rpartition(".")[2]
        if self._fields is None:
            return name
        if name in self._fields:
            return name
        if self._folded is None:
            self._folded = {}
            for known in self._fields:
                folded = known.casefold()
                # A name that two classes share in this way is no one's.
                self._folded[folded] = "" if folded in self._folded else known
        return self._folded.get(name.casefold()) or None

    def type_of(self, group: BracketNode) -> KeyedNode | None:
        """Where a JSON object names its own class, or ``None``."""
        found = None
        for item in group.items:
            if _is_type(item):
                if item[0] == "type":
                    return item
                found = found or item
        return found

    def _given(self, name: str, group: BracketNode, typed: KeyedNode | None) -> list[KeyedNode]:
        """The fields that a JSON object of a class has, without what names the class."""
        return [
            item
            for item in group.items
            if item is not typed and not (_is_type(item) and not self.is_field(name, str(item[0])))
        ]

    def _names_classes(self, group: BracketNode) -> bool:
        """Whether an object holds spans by their class."""
        return any(key and self.is_class(key) for key, _ in group.items)

    def _source(self, value: Node) -> str:
        """What the reply has there, cut to a length that a report can show."""
        if isinstance(value, str):
            return repr(value[:_LONGEST_ITEM])[:_LONGEST_ITEM]
        return self._text[value.start : min(value.end, value.start + _LONGEST_ITEM)].rstrip()


def is_nothing(text: str, word: BareWord) -> bool:
    """Whether the word is None, or null as JSON has it."""
    return text[word.start : word.end] in ("None", "null")


def _is_cut(group: BracketNode) -> bool:
    """Whether the last argument of a call that is not closed may be only its beginning."""
    last = group.items[-1][1] if group.items else ""
    if isinstance(last, BracketNode):
        return group.broken or not last.closed
    return group.broken or isinstance(last, BareWord)


def is_object(group: BracketNode) -> bool:
    """Whether the brackets are a dict's and have keys (or nothing) in them."""
    return group.bracket == "{" and all(key is not None for key, _ in group.items)


def _is_type(item: KeyedNode) -> bool:
    return item[0] in _TYPE_KEYS and isinstance(item[1], str)
