"""``lake doctor``: what it checks and how it exits."""

from __future__ import annotations

import pytest

from lake.clear.sandbox import fences
from lake.clear.serving import processes
from lake.clear.serving.pool import Pool
from tests.cli.conftest import Shell


def states(shell: Shell) -> tuple[int, dict[str, str]]:
    """Exit code and the state of each check."""
    ran = shell("doctor", "--json")
    return ran.code, {finding["check"]: finding["state"] for finding in ran.document}


def test_a_sound_lake_is_ok(shell: Shell) -> None:
    """Every check says so, and it exits with 0."""
    code, found = states(shell)
    assert code == 0
    for check in ("keys", "catalog", "audit log", "contracts", "objects", "stray files"):
        assert found[check] == "ok"
    assert "files match their digests" in shell("doctor").out


def test_a_changed_object_and_a_lost_one_are_damage(shell: Shell) -> None:
    """Both are named, the other checks go on, and it exits with 4."""
    first, second = shell.world.objects()[:2]
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    second.unlink()
    ran = shell("doctor", "--json")
    damage = [finding["message"] for finding in ran.document if finding["state"] == "damage"]
    assert ran.code == 4
    assert any("not what was written" in message for message in damage)
    assert any("is missing" in message for message in damage)
    assert {finding["check"] for finding in ran.document if finding["state"] == "ok"} >= {"keys", "catalog"}


def test_an_object_that_cannot_be_had_now_is_unchecked(shell: Shell) -> None:
    """It is neither sound nor damaged: the others are examined, and it exits with 5 for another time."""
    first = shell.world.objects()[0]
    first.unlink()
    first.mkdir()
    ran = shell("doctor", "--json")
    objects = [finding for finding in ran.document if finding["check"] == "objects"]
    assert (ran.code, [finding["state"] for finding in objects]) == (5, ["unchecked"])
    assert objects[0]["message"].startswith("1 of ")


def test_an_orphan_is_a_warning(shell: Shell) -> None:
    """What a batch left behind does not fail the check-up, and the remedy is named."""
    (shell.world.root / "data" / "orphan.parquet").write_bytes(b"PARE")
    code, found = states(shell)
    assert (code, found["stray files"]) == (0, "warning")
    assert "lake jobs sweep" in shell("doctor").out


def test_parquet_in_clear_is_damage(shell: Shell) -> None:
    """A file that anyone can read has no place in the lake."""
    (shell.world.root / "data" / "planted.parquet").write_bytes(b"PAR1....PAR1")
    ran = shell("doctor", "--json")
    assert ran.code == 4
    assert any("planted.parquet is Parquet in clear" in finding["message"] for finding in ran.document)


def test_an_open_folder_is_a_warning(shell: Shell) -> None:
    """Rights that are too wide are noticed."""
    shell.world.root.chmod(0o755)
    code, found = states(shell)
    assert (code, found["folder"]) == (0, "warning")


def test_a_cut_audit_log_is_damage(shell: Shell) -> None:
    """A log that lost its end is found before anything is done."""
    path = max((p for p in (shell.world.root / "audit").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-40])
    assert shell("doctor").code == 4


def sandbox(shell: Shell) -> dict[str, str]:
    """What is said of each fence of the sandbox, and its state."""
    ran = shell("doctor", "--json")
    assert ran.code == 0
    return {finding["message"]: finding["state"] for finding in ran.document if finding["check"] == "sandbox"}


def test_fences_of_the_sandbox_are_shown(shell: Shell) -> None:
    """Each by its name, as a sandbox that was started here reports it; the process is gone afterwards."""
    found = sandbox(shell)
    assert found["no core dumps: on"] == found["address space: on"] == "ok"
    names = {message.partition(":")[0] for message in found}
    assert {"network namespace", "open files", "processor time", "a user of its own", "landlock", "seccomp"} <= names
    for message, state in found.items():
        assert state == ("ok" if message.endswith(": on") else "warning")
    assert "sandbox: seccomp: " in shell("doctor").out


def test_a_fence_that_the_platform_lacks_is_a_warning(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason; the lake itself is sound."""
    opened = Pool.__init__

    def lacking(pool: Pool, *arguments: object, **values: object) -> None:
        opened(pool, *arguments, **values)  # type: ignore[arg-type]
        pool.fences["landlock"] = "off: the kernel has none"

    monkeypatch.setattr(Pool, "__init__", lacking)
    found = sandbox(shell)
    assert found["landlock: off: the kernel has none"] == "warning"
    assert found[f"no core dumps: {fences.ON}"] == "ok"


def test_a_platform_without_sandboxes_is_a_warning(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded lake works all the same."""
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    ((message, state),) = sandbox(shell).items()
    assert state == "warning"
    assert message.startswith("a gateway could answer no query here: ")
