"""Docstrings of generated code."""

from __future__ import annotations

import re
import textwrap

WIDTH = 108


def clean(text: str) -> str:
    """`text` as it may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''").strip()


def write_docstring(text: str, indent: int, *more: str) -> list[str]:
    """The lines of a docstring: paragraphs of `text` wrapped, then the lines `more` as they are."""
    margin = " " * indent
    lines: list[str] = []
    for paragraph in clean(text).split("\n\n"):
        wrapped = textwrap.wrap(" ".join(paragraph.split()), WIDTH - indent - 3, break_on_hyphens=False)
        lines += [*([""] if lines else []), *wrapped]
    if not more and len(lines) == 1 and len(lines[0]) + indent + 6 <= WIDTH + 2:
        return [f'{margin}"""{lines[0]}"""']
    if more:
        lines += ["", *more]
    first, rest = lines[0], [f"{margin}{line}".rstrip() for line in lines[1:]]
    return [f'{margin}"""{first}', *rest, f'{margin}"""']


def wrap_entry(entry: str, indent: int) -> list[str]:
    """A line of `Args:`, wrapped below itself."""
    text = " ".join(clean(entry).split())
    return textwrap.wrap(
        text, WIDTH - indent, initial_indent="    ", subsequent_indent="        ", break_on_hyphens=False
    )


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as a name of its own."""
    return re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", text) is not None
