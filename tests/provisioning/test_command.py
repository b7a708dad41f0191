"""``lake store provision`` as an administrator meets it: a plan, then the deed, and no secret on the screen."""

from __future__ import annotations

import configparser
import json
import stat
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from lake.cli.main import main
from lake.sealed.objects.provision_policies import Place
from tests.servers.s3_processes import ADMIN, SECRET, S3Process

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit code, stdout and stderr of a command whose environment has the administrator's credentials."""
    monkeypatch.setenv("MINIO_ROOT_USER", ADMIN)
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", SECRET)

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["store", "provision", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def options(server: S3Process, place: Place) -> list[str]:
    """Which store, on which server."""
    return ["--store", f"s3://{place.bucket}/{place.prefix}", "--endpoint", server.endpoint]


def test_the_plan_then_the_deed(
    run: Run, minio: S3Process, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan shows policies and what this server lacks; the deed leaves three files that AWS's tools can use."""
    where, folder = options(minio, place), tmp_path / "credentials"
    code, out, err = run(*where)
    assert (code, "--apply does it" in err, "left for you: unfinished uploads" in err) == (1, True, True)
    assert "s3:AbortMultipartUpload" in out
    assert list(tmp_path.iterdir()) == []
    code, out, err = run(*where, "--credentials", str(folder), "--apply", "--json")
    document = json.loads(out)
    assert (code, document["applied"]) == (1, True)
    assert {step["state"] for step in document["steps"] if step["step"].startswith(("user", "policy"))} == {"made"}
    assert set(document["policies"]) == {place.name(identity) for identity in ("ingest", "reader", "jobs")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for identity, file in document["credentials"].items():
        assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
        parser = configparser.ConfigParser()
        parser.read(file)
        assert parser["default"]["aws_access_key_id"] == place.name(identity)
        assert parser["default"]["aws_secret_access_key"] not in out + err
    assert SECRET not in out + err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", document["credentials"]["ingest"])
    client = boto3.session.Session().client("s3", endpoint_url=minio.endpoint, region_name="us-east-1")
    client.put_object(Bucket=place.bucket, Key=f"{place.data}x", Body=b"x")


def test_exit_codes_tell(run: Run, minio: S3Process, seaweedfs: S3Process, place: Place, tmp_path: Path) -> None:
    """1 where something is left for a person, 2 for usage, 3 for a wrong administrator, 5 for no server."""
    folder = ["--credentials", str(tmp_path / "credentials")]
    assert run(*options(seaweedfs, place), *folder, "--apply")[0] == 1
    assert run(*options(minio, place), "--apply")[0] == 2
    assert run("--store", "s3://bucket/*", "--endpoint", minio.endpoint)[0] == 2
    assert run("--store", "s3://bucket/x", "--endpoint", "http://127.0.0.1:9")[0] == 5
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(f"[default]\naws_access_key_id={ADMIN}\naws_secret_access_key=wrongsecret\n")
    code, _, err = run(*options(minio, place), "--admin", str(wrong))
    assert (code, "wrongsecret" in err) == (3, False)


def test_no_option_takes_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Credentials come from files and the environment: no option of the command takes one."""
    with pytest.raises(SystemExit):
        main(["store", "provision", "--help"])
    help_text = capsys.readouterr().out
    assert "--secret" not in help_text
    assert "--access-key" not in help_text
