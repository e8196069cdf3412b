"""Annotations of the schema from the elements of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.reading.brackets import BareWord, BracketNode, KeyedNode, Node
from harness.reading.repairs import RepairNotes
from harness.records import Annotation, Dropped, FieldValue
from harness.shapes import REQUIRED, SCALARS, SPAN

# The possible values of ``Dropped.reason``: why an element is no annotation.
DROP_REASONS = ("unknown_class", "not_an_annotation", "bad_value", "missing_field", "incomplete")

# The keys under which JSON objects name their class.
_TYPE_KEYS = frozenset({"type", "class", "label"})
# The most characters of a dropped element that are kept.
_LONGEST_ITEM = 200


class AnnotationBuilder:
    """Builds annotations from the values of one text.

    ``fields`` maps a class to its fields in order. ``None`` accepts any class with any fields; a
    positional argument is then the ``span``. ``json`` says that the prompt asked for JSON, so that
    objects with their class under ``type`` need no repair.
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
        # The classes by their names in lower case, made when first needed.
        self._classes_by_lower: dict[str, str] | None = None

    def is_class(self, name: str) -> bool:
        """Whether the name can be that of a class; case does not matter."""
        if self._fields is None:
            return name.rpartition(".")[2][:1].isupper()
        return self._class(name) is not None

    def is_field(self, name: str, field: str) -> bool:
        """Whether the class of that name has the field."""
        class_name = self._class(name)
        if self._fields is None or class_name is None:
            return False
        return field in self._fields[class_name]

    def any_annotation(self, group: BracketNode) -> bool:
        """Whether some element is an annotation of a known or an unknown class."""
        stack: list[Node] = [group]
        while stack:
            value = stack.pop()
            if isinstance(value, BracketNode):
                if value.name:
                    return True
                if is_object(value) and (self.type_item(value) or self._names_classes(value)):
                    return True
                stack.extend(item for _, item in value.items)
        return False

    def annotations(self, group: BracketNode, stage: str) -> tuple[Annotation, ...]:
        """The annotations of one list, in order; other elements are added to ``dropped``."""
        annotations: list[Annotation] = []
        # The last word of a list that is cut may be the beginning of an annotation.
        last_word = None if group.closed or group.fresh or not group.items else group.items[-1][1]
        # The elements to be read, the next one last. The key of an element is the class that an
        # object around it names. Nesting has no limit, so that recursion could overflow.
        stack: list[KeyedNode] = [(None, group)]
        while stack:
            name, value = stack.pop()
            # An annotation, or the reason why there is none. It stays None for an empty value, and
            # for a list or an object whose own elements are read instead.
            result: Annotation | str | None = None
            type_item: KeyedNode | None
            if isinstance(value, str):
                result = self._build(name, [(None, value)]) if name else "not_an_annotation"
            elif isinstance(value, BareWord):
                if name and is_nothing(self._text, value):
                    self._notes["none_list"] = None
                else:
                    result = "incomplete" if value is last_word else "not_an_annotation"
            elif value.name:
                result = self._build(value.name, value.items, value)
            elif not is_object(value):
                if value is not group:
                    self._notes["nested_list" if name is None else "json"] = None
                elif value.bracket != "[":
                    self._notes["other_brackets"] = None
                stack.extend((name, element) for _, element in reversed(value.items))
            elif (type_item := None if name else self.type_item(value)) or name:
                kind = name or str(type_item and type_item[1])
                if not (self._json and type_item and type_item[0] == "type" and value is not group):
                    self._notes["json"] = None
                result = self._build(kind, self._field_items(kind, value, type_item), value)
            elif self._names_classes(value):
                self._notes["json"] = None
                stack.extend(reversed(value.items))
            elif self._json and value is not group and not value.closed:
                result = "incomplete"
            elif value is group or any(
                isinstance(element, BracketNode) for _, element in value.items
            ):
                self._notes["json"] = None
                stack.extend((None, element) for _, element in reversed(value.items))
            else:
                result = "not_an_annotation"
            if isinstance(result, Annotation):
                annotations.append(result)
            elif result is not None:
                self.dropped.append(Dropped(stage, result, self._source(value)))
        return tuple(annotations)

    def _build(
        self, spelling: str, items: Sequence[KeyedNode], group: BracketNode | None = None
    ) -> Annotation | str:
        """The annotation of a class with these arguments, or the reason why there is none."""
        name = self._class(spelling)
        if name is None:
            return "unknown_class"
        if name != spelling:
            self._notes["qualified_name" if "." in spelling else "class_case"] = None
        names = None if self._fields is None else self._fields[name]
        is_closed = group is None or group.closed
        if is_closed and len(items) == 1 and names == (SPAN,):  # A short cut for speed.
            key, value = items[0]
            if (key is None or key == SPAN) and isinstance(value, str):
                return Annotation(name, {SPAN: value})
        if group is not None and not is_closed and _is_cut(group):
            return "incomplete"
        is_call = group is not None and group.name != ""
        values, reason = self._arguments(names, items, from_object=not is_call)
        if not is_closed:
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
        self, names: tuple[str, ...] | None, items: Sequence[KeyedNode], *, from_object: bool
    ) -> tuple[dict[str, FieldValue], str]:
        """The values by field, and the reason why they are no annotation, or an empty string.

        ``from_object`` says that they come from a JSON object, which may have other keys as well.
        """
        values: dict[str, FieldValue] = {}
        others: list[Node] = []
        reason = ""
        order = (SPAN,) if names is None else names
        # Models often write "text" for "span" in JSON objects.
        keys = {key for key, _ in items}
        alias = "text" if from_object and SPAN in order and SPAN not in keys else None
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
            field_value = self._value(field, value, any_type=names is None)
            if field_value is None:
                reason = "bad_value"
            else:
                values[field] = field_value
        strings = [value for value in others if isinstance(value, str)]
        only = order[0] if len(order) == 1 and order[0] in SCALARS else None
        if only and not values and not reason and len(strings) == 1:
            self._notes["renamed_field"] = None
            others.remove(strings[0])
            values[only] = strings[0]
        if others and (self._json or not from_object):
            self._notes["extra_field"] = None
        required = [field for field in order if field in REQUIRED]
        if names is None and values:
            required = []
        if not reason and any(field not in values for field in required):
            reason = "missing_field"
        return values, reason

    def _value(self, field: str, value: Node, *, any_type: bool) -> FieldValue | None:
        """The value of a field, or ``None`` if it has the wrong type.

        With ``any_type``, a role may be a string instead of a tuple.
        """
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
            if any_type:
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

    def _class(self, spelling: str) -> str | None:
        """The schema's class of that spelling; case and a module before it do not matter."""
        name = spelling.rpartition(".")[2]
        if self._fields is None:
            return name
        if name in self._fields:
            return name
        if self._classes_by_lower is None:
            classes: dict[str, str] = {}
            for class_name in self._fields:
                lower = class_name.casefold()
                # A name that differs between two classes only by case stands for neither.
                classes[lower] = "" if lower in classes else class_name
            self._classes_by_lower = classes
        return self._classes_by_lower.get(name.casefold()) or None

    def type_item(self, group: BracketNode) -> KeyedNode | None:
        """The item of a JSON object that names its class, or ``None``. ``type`` wins."""
        type_item = None
        for item in group.items:
            if _is_type(item):
                if item[0] == "type":
                    return item
                type_item = type_item or item
        return type_item

    def _field_items(
        self, name: str, group: BracketNode, type_item: KeyedNode | None
    ) -> list[KeyedNode]:
        """The items of a JSON object of a class, without those that name the class."""
        return [
            item
            for item in group.items
            if item is not type_item
            and not (_is_type(item) and not self.is_field(name, str(item[0])))
        ]

    def _names_classes(self, group: BracketNode) -> bool:
        """Whether some key of an object is a class, with its spans as the value."""
        return any(key and self.is_class(key) for key, _ in group.items)

    def _source(self, value: Node) -> str:
        """The text of the element in the reply, shortened for reports."""
        if isinstance(value, str):
            return repr(value[:_LONGEST_ITEM])[:_LONGEST_ITEM]
        return self._text[value.start : min(value.end, value.start + _LONGEST_ITEM)].rstrip()


def is_nothing(text: str, word: BareWord) -> bool:
    """Whether the word is Python's ``None`` or JSON's ``null``."""
    return text[word.start : word.end] in ("None", "null")


def _is_cut(group: BracketNode) -> bool:
    """Whether the last argument of a call that is not closed may be incomplete."""
    last = group.items[-1][1] if group.items else ""
    if isinstance(last, BracketNode):
        return group.broken or not last.closed
    return group.broken or isinstance(last, BareWord)


def is_object(group: BracketNode) -> bool:
    """Whether the group is a JSON object: braces in which every element has a key."""
    return group.bracket == "{" and all(key is not None for key, _ in group.items)


def _is_type(item: KeyedNode) -> bool:
    return item[0] in _TYPE_KEYS and isinstance(item[1], str)
