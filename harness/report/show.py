"""One sentence through every stage, its spans marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RunFolderError
from harness.records import Annotation, Example, Status
from harness.results.folder import RunFolder
from harness.results.lines import Line
from harness.results.manifest import Manifest, SystemEntry
from harness.results.scored import check_countable, count_line, examples_by_place, voted_line
from harness.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = (
    "black on cyan",
    "black on green",
    "black on yellow",
    "black on magenta",
    "white on blue",
)


def show(folder: str | Path, example: str, *, rule: str = "gollie") -> None:
    """Print one example of a run: text, English, prompt hash, every system's stages, gold.

    Args:
        example: an example's id, or ``dataset/language/id`` where several share it.

    Raises:
        RunFolderError: no such example; the message lists the nearest.
        UsageError: the rule cannot read a system's answers.
    """
    from rich.console import Console

    run = RunFolder.open(folder)
    manifest = run.manifest()
    for entry in manifest.systems:
        check_countable(entry, rule)
    found = _find(run, example)
    types = list(dict.fromkeys(_types(manifest, found)))
    console = Console(highlight=False)
    console.print(_line("example", f"{found.dataset}/{found.language}/{found.id}"))
    console.print(_line("text", _marked(found.text, found.gold, types)))
    console.print(_line("gold", _listed(found.gold, types)))
    place = (found.dataset, found.language, found.id)
    systems = {entry.name: entry for entry in manifest.systems}
    lines_of: dict[str, list[Line]] = {}

    for line in run.predictions():
        if (line.dataset, line.language, line.example_id) != place:
            continue
        name, system = line.system, systems[line.system]
        heading = name
        if line.repeat is not None and system.repeats > 1:
            heading = f"{name} · repeat {line.repeat + 1} of {system.repeats}"
        _show_heading(console, heading)
        _show_line(console, found, line, system, types, rule)
        lines = lines_of.setdefault(name, [])
        lines.append(line)
        sent = all(each.status is not Status.UNSENT for each in lines)
        if system.vote and sent and len(lines) == system.repeats:
            _show_heading(console, f"{name} · majority of {system.repeats}")
            _show_stages(console, found, voted_line(lines, system), system, types, rule)


def _find(run: RunFolder, name: str) -> Example:
    examples = examples_by_place(run)
    matches = [
        example
        for (dataset, language, own), example in examples.items()
        if name in (own, f"{language}/{own}", f"{dataset}/{language}/{own}")
    ]
    if len(matches) == 1:
        return matches[0]
    full = ["/".join(key) for key in examples]
    if matches:
        several = ", ".join(f"{e.dataset}/{e.language}/{e.id}" for e in matches[:10])
        raise RunFolderError(f"'{name}' names {len(matches)} examples. Say which: {several}.")
    import difflib

    near = difflib.get_close_matches(name, full + [key[2] for key in examples], n=3, cutoff=0.3)
    raise RunFolderError(
        f"{run.path}: no example '{name}'. "
        + (f"Nearest: {', '.join(near)}. " if near else "")
        + f"The first is {full[0] if full else 'none'}; {len(full)} in all, in examples.jsonl."
    )


def _types(manifest: Manifest, example: Example) -> Iterable[str]:
    for system in manifest.systems:
        if example.dataset in system.prompts:
            yield from system.prompts[example.dataset].fields
    yield from (annotation.type for annotation in example.gold)


def _show_heading(console: Console, heading: str) -> None:
    from rich.rule import Rule
    from rich.text import Text

    console.print(Rule(Text(visible(heading)), align="left"))


def _show_line(
    console: Console,
    example: Example,
    line: Line,
    system: SystemEntry,
    types: Sequence[str],
    rule: str,
) -> None:
    status = str(line.status)
    if line.repairs:
        status += f" ({', '.join(line.repairs)})"
    if line.reply is not None:
        status += f" · finish_reason {line.finish_reason}" + (
            " · from the store" if line.cached else ""
        )
    console.print(_line("status", status))
    if line.error:
        console.print(_line("error", line.error))
    _show_stages(console, example, line, system, types, rule)
    if line.reply is not None:
        console.print(_line("reply", line.reply.strip()))


def _show_stages(
    console: Console,
    example: Example,
    line: Line,
    system: SystemEntry,
    types: Sequence[str],
    rule: str,
) -> None:
    """The lists of one answer, or of the majority of several, and what they score."""
    stages = {name: line.stage(name) or () for name in line.stages}
    final = system.answers[-1]
    if line.english is not None:
        english = stages.get("result", ()) if final != "result" else ()
        console.print(_line("english", _marked(line.english, english, types)))
    for name in system.answers:
        if name in stages:
            console.print(_line(name, _listed(stages[name], types)))
    for dropped in line.dropped:
        console.print(_line("dropped", f"{dropped.reason}: {dropped.item}"))
    if final in stages:
        console.print(_line("marked", _marked(example.text, stages[final], types)))
    row = count_line(example, line, system, rule)
    counts = [sum(c[i] for c in row.counts.values()) for i in range(3)]
    console.print(
        _line(
            "score", f"{counts[0]} right of {counts[1]} predicted, {counts[2]} gold (rule {rule})"
        )
    )


def _line(label: str, value: str | Text) -> Text:
    from rich.text import Text

    text = Text(f"{label:<13}", style="dim")
    text.append(Text(visible(value)) if isinstance(value, str) else value)
    return text


def _style(types: Sequence[str], name: str) -> str:
    return _STYLES[types.index(name) % len(_STYLES)] if name in types else "reverse"


def _marked(text: str, annotations: Iterable[Annotation], types: Sequence[str]) -> Text:
    """The text with each annotation's span as ``[span Type]``, coloured by type.

    A span is marked at its offsets, else at its first place that is not marked yet.
    """
    from rich.text import Text

    taken: list[tuple[int, int, str]] = []
    for annotation in annotations:
        for span in _surfaces(annotation):
            place = annotation.offsets or _first_free(text, span, taken)
            if place is not None and not _overlaps(place, taken):
                taken.append((*place, annotation.type))
    marked = Text()
    at = 0
    for start, end, name in sorted(taken):
        marked.append(visible(text[at:start]))
        marked.append(f"[{visible(text[start:end])} {visible(name)}]", style=_style(types, name))
        at = end
    marked.append(visible(text[at:]))
    return marked


def _surfaces(annotation: Annotation) -> Iterable[str]:
    if annotation.span:
        return (annotation.span,)
    return (v for v in annotation.fields.values() if isinstance(v, str) and v)


def _first_free(
    text: str, span: str, taken: Sequence[tuple[int, int, str]]
) -> tuple[int, int] | None:
    folded, wanted = text.lower(), span.lower().strip()
    if len(folded) != len(text) or not wanted:
        folded, wanted = text, span
    start = folded.find(wanted)
    while start >= 0 and wanted:
        place = (start, start + len(wanted))
        if not _overlaps(place, taken):
            return place
        start = folded.find(wanted, start + 1)
    return None


def _overlaps(place: tuple[int, int], taken: Sequence[tuple[int, int, str]]) -> bool:
    return any(place[0] < end and start < place[1] for start, end, _ in taken)


def _listed(annotations: Iterable[Annotation], types: Sequence[str]) -> Text:
    from rich.text import Text

    text = Text()
    for number, annotation in enumerate(annotations):
        if number:
            text.append(", ")
        fields = ", ".join(f"{name}={value!r}" for name, value in annotation.fields.items())
        text.append(visible(f"{annotation.type}({fields})"), style=_style(types, annotation.type))
    return text if text else Text("none", style="dim")
