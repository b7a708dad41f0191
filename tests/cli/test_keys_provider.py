"""``lake keys move`` and lakes whose keys a service holds: provider files on the command line, and exit code 5."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.cli.test_keys_shred import ROWS, rows
from tests.gateway.baolakes import service_file
from tests.keys.providers.openbao_server import OpenBaoServer

pytest_plugins = ("tests.keys.providers.case_openbao",)

NOWHERE = "kind: openbao\naddress: https://127.0.0.1:9\ntoken_file: token\nattempts: 1\n"


def test_there_and_back(shell: Shell, openbao: OpenBaoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --provider or LAKE_PROVIDER_FILE; the same rows, and status names who holds the keys."""
    before = rows(shell)
    bao = str(service_file(shell.world, openbao))
    ran = shell("keys", "move", "--to", bao, "--yes", "--json")
    assert (ran.code, ran.document["changed"], ran.document["control_secrets"]) == (0, True, 7), ran.err
    assert shell.query(ROWS, "--json").code == 2
    assert rows(shell, "--provider", bao) == before
    monkeypatch.setenv("LAKE_PROVIDER_FILE", bao)
    assert shell("keys", "status", "--json").document["provider"] == "openbao"
    assert shell("keys", "rotate", "root", "--all").code == 0
    assert rows(shell) == before
    assert shell("doctor").code == 0
    assert shell("keys", "move", "--to", "local", "--yes").code == 0
    monkeypatch.delenv("LAKE_PROVIDER_FILE")
    assert rows(shell) == before
    assert shell("doctor").code == 0


def test_a_service_that_cannot_be_reached_exits_with_5(shell: Shell, tmp_path: Path) -> None:
    """Try again later; nothing has begun, and the lake goes on with the keys that it has."""
    bao = tmp_path / "bao.yaml"
    bao.write_text(NOWHERE)
    (tmp_path / "token").write_text("s.token")
    (tmp_path / "token").chmod(0o600)
    ran = shell("keys", "move", "--to", str(bao), "--yes", "--json")
    assert (ran.code, ran.document["error"]) == (5, "provider_unavailable")
    assert "s.token" not in ran.out + ran.err
    assert shell("keys", "status", "--json").document["unfinished"] == []
    assert shell.query(ROWS, "--json").code == 0


def test_a_lake_of_a_service_that_is_down(shell: Shell, openbao: OpenBaoServer) -> None:
    """Every command that needs keys exits with 5; verifying the log needs none."""
    bao = service_file(shell.world, openbao)
    assert shell("keys", "move", "--to", str(bao), "--yes").code == 0
    bao.write_text(bao.read_text().replace(openbao.address, "https://127.0.0.1:9"))
    for arguments in (["keys", "status"], ["keys", "verify"], ["keys", "rotate", "kek", "--all"], ["doctor"]):
        ran = shell(*arguments, "--provider", str(bao), "--json")
        assert (ran.code, ran.document["error"]) == (5, "provider_unavailable"), arguments
    assert shell.query(ROWS, "--json", "--provider", str(bao)).code == 5
    assert shell.bare("audit", "verify", "--lake", str(shell.world.root)).code == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (NOWHERE + "colour: red\n", "bao.yaml:5:1"),
        ("kind: vault\n", "bao.yaml:1:7"),
        (NOWHERE + "attempts: 0\n", "5:1"),
    ],
)
def test_a_mistake_in_a_provider_file_is_shown_with_its_place(
    shell: Shell, tmp_path: Path, text: str, place: str
) -> None:
    """Exit code 2, and line and column for machines too."""
    bao = tmp_path / "bao.yaml"
    bao.write_text(text)
    ran = shell("keys", "move", "--to", str(bao), "--yes", "--json")
    assert (ran.code, ran.document["error"]) == (2, "document")
    assert place in ran.document["message"]
    assert ran.document["line"] == int(place.split(":")[-2])
    bao.write_text(NOWHERE)
    bao.chmod(0o666)
    ran = shell("keys", "move", "--to", str(bao), "--yes", "--json")
    assert (ran.code, ran.document["error"]) == (2, "usage")
    assert "others can change" in ran.document["message"]


@pytest.mark.parametrize(
    ("kind", "missing", "extra"),
    [
        (NOWHERE, "hvac", "openbao"),
        ("kind: aws-kms\nregion: eu-central-1\n", "boto3", "aws"),
        ("kind: pkcs11\nmodule: m.so\ntoken_label: x\npin_file: pin\n", "pkcs11", "pkcs11"),
    ],
)
def test_a_client_that_is_not_installed_is_named(
    shell: Shell, tmp_path: Path, kind: str, missing: str, extra: str
) -> None:
    """What to install, in words."""
    bao = tmp_path / "bao.yaml"
    bao.write_text(kind)
    source = f"sys.modules[{missing!r}] = None"
    process = shell.start("keys", "move", "--to", str(bao), "--yes", source=source)
    _, err = process.communicate()
    assert process.returncode == 2
    assert f"pip install 'telemetry-lake[{extra}]'" in err.decode()
