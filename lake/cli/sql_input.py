"""Where the shell's statements come from: a terminal with or without prompt_toolkit, or a pipe.

Nothing that is typed reaches a disk, unless a history file is asked for: queries hold personal data.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lake.cli.output import say
from lake.cli.sql_text import blank, completions, split
from lake.errors import UsageError

Names = Callable[[], Mapping[str, Sequence[str]]]
"""Columns by table, of those that one may see."""


Lines = Callable[[str], str]
"""Gives the next text for a prompt; raises EOFError at the end, KeyboardInterrupt to drop what was begun."""


def source(history: Path | None, names: Names) -> Lines:
    """The best there is.

    Raises:
        UsageError: the history cannot be kept.
    """
    if not sys.stdin.isatty():
        return _piped
    if find_spec("prompt_toolkit") is None:
        if history is not None:
            raise UsageError("a history needs prompt_toolkit", hint="pip install 'telemetry-lake[shell]'")
        return input
    return toolkit(history, names)


def _piped(_prompt: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def statements(lines: Lines, *, interactive: bool) -> Iterator[str]:
    """Statements and commands, one after the other; a command is a line of its own that begins with a backslash.

    Somebody at a terminal drops what they began with Ctrl-C. At the end, what lacks only its semicolon is a statement.
    """
    begun = ""
    while True:
        try:
            line = lines(" ...> " if begun else "lake> ")
        except KeyboardInterrupt:
            if not interactive:
                raise
            begun = ""
            continue
        except EOFError:
            break
        if blank(begun) and line.lstrip().startswith("\\"):
            begun = ""
            yield line.strip()
            continue
        whole, begun = split(f"{begun}{line}\n")
        yield from (statement for statement in whole if not blank(statement))
    if not blank(begun):
        yield begun.strip()


def toolkit(history: Path | None, names: Names, **options: Any) -> Lines:
    """A prompt with completion, in which Enter sends only a whole statement.

    Args:
        options: more for the prompt's session, such as another terminal.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import get_app
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Words(Completer):
        def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
            word, found = completions(document.text_before_cursor, names())
            return (Completion(text, start_position=-len(word)) for text in found)

    def unfinished() -> bool:
        text = get_app().current_buffer.text
        return not (blank(text) or text.lstrip().startswith("\\") or (split(text)[0] and blank(split(text)[1])))

    session: Any = PromptSession(
        history=FileHistory(str(_private(history))) if history else InMemoryHistory(),
        completer=Words(),
        complete_while_typing=False,
        multiline=Condition(unfinished),
        enable_open_in_editor=False,  # an editor's files lie on a disk
        **options,
    )
    prompt: Lines = session.prompt
    return prompt


def _private(file: Path) -> Path:
    """A history file that only its owner reads; made if there is none."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {os.strerror(error.errno or 0)}") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            raise UsageError(f"{file} is not a file of yours")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    say(f"what you type is kept in {file} (mode 0600), in the clear: queries hold personal data")
    return file
