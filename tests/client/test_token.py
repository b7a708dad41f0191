"""Tokens: sent, never shown, read again when their file is renewed, and not handed to other processes."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path

import pytest

from lake.client.token import Tokens
from lake.errors import UsageError

SECRET = "eyJ.canary-token.sig"  # noqa: S105 - made up


def test_a_token_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither by repr, nor by str, nor in a log, nor as an attribute of a dictionary that a debugger lists."""
    tokens = Tokens(SECRET)
    logging.getLogger().warning("%s %r", tokens, tokens)
    assert tokens.current() == SECRET
    assert SECRET not in repr(tokens) + str(tokens) + f"{tokens!a}" + caplog.text
    assert not hasattr(tokens, "__dict__")


@pytest.mark.parametrize("wrong", ["", "two words", "line\nend", "ümlaut", "x" * 8193, "a\x00b", 7, b"bytes"])
def test_what_is_no_token_is_refused_unshown(wrong: object, tmp_path: Path) -> None:
    """Given, or from a function: one sentence, without it."""
    with pytest.raises(UsageError) as caught:
        Tokens(lambda: wrong).current()  # type: ignore[arg-type, return-value]
    assert str(caught.value).startswith("what was given as a token is none")
    assert caught.value.__cause__ is None
    if isinstance(wrong, str):
        with pytest.raises(UsageError):
            Tokens(wrong)


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    """Rewritten in place, or replaced by another of the same size and time."""
    file = tmp_path / "token"
    file.write_text("first\n")
    tokens = Tokens(file=file)
    assert [tokens.current(), tokens.current()] == ["first", "first"]
    file.write_text("second-longer\n")
    assert tokens.current() == "second-longer"
    state = file.stat()
    other = tmp_path / "other"
    other.write_text("third--longer\n")
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(file)
    assert tokens.current() == "third--longer"


def test_a_file_that_is_gone_or_empty(tmp_path: Path) -> None:
    """The last token is not used any more."""
    file = tmp_path / "token"
    file.write_text(SECRET)
    tokens = Tokens(file=file)
    assert tokens.current() == SECRET
    file.write_text("")
    with pytest.raises(UsageError, match="is none"):
        tokens.current()
    file.unlink()
    with pytest.raises(UsageError, match=r"token cannot be read: No such file"):
        tokens.current()


def test_a_function_is_asked_each_time() -> None:
    """It may give another token for each call."""
    answers = iter(["one", "two"])
    tokens = Tokens(lambda: next(answers))
    assert [tokens.current(), tokens.current()] == ["one", "two"]


def test_a_token_and_a_file_are_too_much(tmp_path: Path) -> None:
    """Nobody has to guess which one counts."""
    with pytest.raises(UsageError, match="a file with one too"):
        Tokens(SECRET, tmp_path / "token")


def test_only_the_way_to_a_token_goes_to_another_process(tmp_path: Path) -> None:
    """A file's path and a function go; a token does not, nor one that was read from the file."""
    file = tmp_path / "token"
    file.write_text(SECRET)
    read = Tokens(file=file)
    assert read.current() == SECRET
    assert SECRET not in repr(read.__reduce__())
    assert copy.copy(read).current() == SECRET
    assert Tokens(token_source).__reduce__()[1] == (token_source, None)
    with pytest.raises(UsageError, match="not handed to other processes"):
        copy.copy(Tokens(SECRET))


def token_source() -> str:
    """A function that another process can import."""
    return SECRET
