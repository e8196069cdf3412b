"""The rules by which the reply parser repairs faults: the one table, by name."""

from __future__ import annotations

REPAIRS: dict[str, str] = {
    # Around the lists
    "alias": "a list is assigned by the name of an earlier one, which it then equals",
    "appended": "annotations were added to a list after it was written (append, extend, +=)",
    "bare_annotation": "annotations stand without a list around them",
    "code_fence": "code fences are passed over",
    "extra_list": "a list beyond those that were asked for is ignored",
    "loose_assignment": "a list is introduced by a heading, a colon or a quoted name, not by `=`",
    "missing_intermediate": "the scored list is there, one before it is not",
    "name_variant": "a list's name is written in another way (`Final result`, `results`)",
    "other_name": "the one list that was asked for has another name",
    "prose": "text that belongs to no list is passed over",
    "python": "what is no JSON, where JSON was asked for, is read as Python",
    "reasoning": "a block of reasoning before the answer (`</think>`) is passed over",
    "reassigned": "a list is given more than once: the last complete one counts",
    "restated": "the first list is assigned by name although the prompt had done so",
    "restated_prompt": "parts of the prompt (classes, text) are repeated before the answer",
    "run_on": "after its answer the reply goes on with another example, which is ignored",
    "unnamed_list": "a list has no name and takes the next place in order",
    # Lists and calls
    "extra_comma": "a comma that separates nothing is ignored",
    "json": "JSON of a form that was not asked for stands for annotations or the whole answer",
    "junk": "text among the elements that is no Python is left out",
    "missing_comma": "two elements have no comma between them",
    "nested_list": "lists inside the list are read as its own elements",
    "none_list": "None stands for an empty list",
    "other_brackets": "a tuple, a set or another pair of brackets stands for the list",
    "stray_bracket": "a closing bracket that nothing opened is ignored",
    "unclosed_call": "an annotation's closing parenthesis is missing",
    "unclosed_list": "the closing bracket of a list, or of the JSON object that holds the lists, "
    "is missing, the elements are complete",
    "wrong_bracket": "an annotation is closed by a bracket of another kind",
    # Strings
    "bad_escape": "a backslash sequence that stands for no character is kept as written",
    "escaped_quotes": "the quotes around a string are preceded by backslashes",
    "raw_newline": "a string goes on over the end of its line, or in JSON holds a raw tab",
    "smart_quotes": "typographic quotes stand around a string",
    "string_prefix": "the prefix of a byte or format string is ignored",
    "surrogate_pair": "two escaped halves of one character are put together",
    "unclosed_string": "a string's closing quote is missing before its annotation's end",
    "unescaped_quote": "quotes inside a string are not escaped",
    "unquoted_string": "a string has no quotes",
    # Arguments
    "bad_filler": "a role's filler that is no string is left out",
    "class_case": "a class is written in another case",
    "colon_keyword": "a colon stands between an argument's name and its value",
    "extra_field": "an argument that the class does not have, or already has, is ignored",
    "list_scalar": "a list of one string stands for the string",
    "missing_role": "an event's subtype or role is left out and read as empty",
    "qualified_name": "a class is written with a module before it",
    "renamed_field": "the only argument has another name than the class's only field",
    "scalar_role": "a string stands for the list of a role's fillers",
}

# The names of the rules that a reply needed, in order of first use. A dict keeps that order.
RepairNotes = dict[str, None]
