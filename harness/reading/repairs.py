"""The rules by which the reply parser repairs faults: the one table, by name."""

from __future__ import annotations

REPAIRS: dict[str, str] = {
    # Around the lists
    "alias": "a list is assigned the name of an earlier list and then equals it",
    "appended": "annotations were added to a list after it was written (append, extend, +=)",
    "bare_annotation": "annotations stand without a list around them",
    "code_fence": "code fences are ignored",
    "extra_list": "a list beyond the expected ones is ignored",
    "loose_assignment": "a list is introduced by a heading, a colon or a quoted name, not by `=`",
    "missing_intermediate": "the scored list is there, but a list before it is missing",
    "name_variant": "a list's name is written in another way (`Final result`, `results`)",
    "other_name": "the only expected list has another name",
    "prose": "text outside the lists is ignored",
    "python": "JSON was requested, but the reply is read as Python",
    "reasoning": "a block of reasoning before the answer (`</think>`) is ignored",
    "reassigned": "a list is there more than once: the last complete one counts",
    "restated": "the first list is assigned by name, although the prompt ends in that assignment",
    "restated_prompt": "parts of the prompt (classes, text) are repeated before the answer",
    "run_on": "another example follows the answer and is ignored",
    "unnamed_list": "a list without a name belongs to the next answer in order",
    # Lists and calls
    "extra_comma": "a comma that separates nothing is ignored",
    "json": "annotations or the whole answer are JSON of an unexpected form",
    "junk": "text among the elements that is not Python is ignored",
    "missing_comma": "two elements have no comma between them",
    "nested_list": "the elements of lists inside the list count as its own",
    "none_list": "None stands for an empty list",
    "other_brackets": "a tuple, a set or another pair of brackets stands for the list",
    "stray_bracket": "a closing bracket without an opening one is ignored",
    "unclosed_call": "an annotation's closing parenthesis is missing",
    "unclosed_list": "the closing bracket of a list, or of the JSON object around the lists, is "
    "missing, but the elements are complete",
    "wrong_bracket": "an annotation is closed by a bracket of another kind",
    # Strings
    "bad_escape": "a backslash sequence that stands for no character stays as it is",
    "escaped_quotes": "the quotes around a string are preceded by backslashes",
    "raw_newline": "a string holds a line break, or in JSON a raw control character",
    "smart_quotes": "typographic quotes are around a string",
    "string_prefix": "the prefix of a byte or format string is ignored",
    "surrogate_pair": "two escaped halves of one character (surrogates) are joined",
    "unclosed_string": "the closing quote of an annotation's last string is missing",
    "unescaped_quote": "quotes inside a string are not escaped",
    "unquoted_string": "a string has no quotes",
    # Arguments
    "bad_filler": "a filler of a role that is not a string is ignored",
    "class_case": "a class is written in another case",
    "colon_keyword": "a colon stands between an argument's name and its value",
    "extra_field": "an unknown or repeated argument is ignored",
    "list_scalar": "a list of one string stands for the string",
    "missing_role": "a missing subtype or role of an event is empty",
    "qualified_name": "a class is written with a module before it",
    "renamed_field": "the only argument does not have the name of the class's only field",
    "scalar_role": "a string stands for the list of a role's fillers",
}

# The names of the rules that a reply needed, in order of first use. A dict keeps that order.
RepairNotes = dict[str, None]
