"""Files with secrets: who may own them, and that writing one is whole or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keys import secretfiles
from keys.errors import KeyStoreMissingError, SecretFileError
from keys.secretfiles import read_secret_file, write_secret_file


@pytest.fixture
def file(tmp_path):
    """A good secret file."""
    path = tmp_path / "secret"
    write_secret_file(path, b"the secret", replace=False)
    return path


def test_a_file_of_its_owner_alone_is_read(file):
    """What was written is read, and the file's mode is 0600."""
    assert read_secret_file(file) == b"the secret"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601, 0o620, 0o602, 0o777])
def test_a_file_open_to_others_is_refused(file, mode):
    """Any right of group or others is too much."""
    file.chmod(mode)
    with pytest.raises(SecretFileError, match="open to others") as caught:
        read_secret_file(file)
    assert "chmod 600" in caught.value.hint
    assert "the secret" not in str(caught.value)


def test_a_link_is_refused(file, tmp_path):
    """A symbolic link is not followed, even to a good file."""
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(SecretFileError):
        read_secret_file(link)


def test_what_is_no_regular_file_is_refused(tmp_path):
    """Folders, pipes and devices are refused at once, without waiting for a writer."""
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir(mode=0o700)
    os.mkfifo(pipe, 0o600)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (folder, pipe, "/dev/null"):
        with pytest.raises(SecretFileError, match="not a regular file"):
            read_secret_file(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "a descriptor stays open"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_owner_is_refused(file):
    """Even root does not take secrets from a file that somebody else can change."""
    os.chown(file, 12345, 12345)
    with pytest.raises(SecretFileError, match="another user"):
        read_secret_file(file)


def test_a_missing_file_is_told_apart(tmp_path):
    """Missing is another error than unusable; a path through a file is unusable."""
    with pytest.raises(KeyStoreMissingError):
        read_secret_file(tmp_path / "none")
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(SecretFileError):
        read_secret_file(tmp_path / "plain" / "none")


def test_a_file_too_large_is_refused(file):
    """The limit is inclusive, and what exceeds it is not read into memory."""
    os.truncate(file, secretfiles.MAX_SECRET_FILE + 1)
    with pytest.raises(SecretFileError, match="too large"):
        read_secret_file(file)


def test_nothing_is_overwritten_unasked(file, tmp_path):
    """Without `replace` the old content stays and no temporary file is left behind."""
    with pytest.raises(SecretFileError, match="exists already"):
        write_secret_file(file, b"another", replace=False)
    assert read_secret_file(file) == b"the secret"
    assert list(tmp_path.iterdir()) == [file]


def test_replacing_leaves_nothing_behind(file, tmp_path):
    """With `replace` the content is new, the mode 0600 whatever it was, and the folder has this file alone."""
    file.chmod(0o644)
    write_secret_file(file, b"another", replace=True)
    assert read_secret_file(file) == b"another"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_in_the_way_is_replaced_not_followed(file, tmp_path):
    """Writing over a symbolic link does not change the file that it points to."""
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(SecretFileError):
        write_secret_file(link, b"another", replace=False)
    write_secret_file(link, b"another", replace=True)
    assert read_secret_file(file) == b"the secret"
    assert read_secret_file(link) == b"another"


def test_a_failed_write_keeps_the_old_file(file, tmp_path, monkeypatch):
    """When the disk does not confirm, the old content stays, and nothing else."""

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for replace in (True, False):
        with pytest.raises(SecretFileError):
            write_secret_file(file if replace else tmp_path / "new", b"another", replace=replace)
    monkeypatch.undo()
    assert read_secret_file(file) == b"the secret"
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_folder_is_an_error_of_the_file(tmp_path):
    """A folder that does not exist gives the typed error."""
    with pytest.raises(SecretFileError):
        write_secret_file(tmp_path / "none" / "secret", b"x", replace=True)
