"""``lake collect`` as an employee's machine runs it: a process, a device file, ActivityWatch and the server."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lake.cli.main import main
from lake.clock import utc_now
from lake.collector import read_settings
from lake.errors import DocumentError, UsageError
from lake.gateway.receiving.receipts import receipt_signer
from tests import forking
from tests.collector.aw_double import AwDouble, serving
from tests.collector.lab import Lab
from tests.collector.test_activitywatch import CONTRACT, POLICY
from tests.gateway.receiving.site import Site, wait_for

COMMAND = "import sys; from lake.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def device_file(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a device of a lake whose clock is the machine's."""
    monkeypatch.setattr(Site, "now", property(lambda _: utc_now(), lambda *_: None))
    lab.site.lake.add_contract(CONTRACT)
    lab.site.lake.apply_policy(POLICY)
    settings = lab.settings()
    folder = lab.folder / "ada-1"
    (folder / "ca.pem").write_bytes(lab.authority.file.read_bytes())
    file = folder / "ada-1.yaml"
    file.write_text(
        f"server: {settings.server}\nca: ca.pem\nverifier: {receipt_signer(lab.site.lake.home).verifier_key}\n"
        f"device: ada-1\nemployee: {settings.employee}\ndataset: desk\ntoken_file: token\nfolder: spool\n"
    )
    return file


@pytest.fixture
def double() -> Iterator[AwDouble]:
    """ActivityWatch with one watcher."""
    with serving(AwDouble()) as running:
        running.bucket("w", "currentwindow")
        yield running


def collecting(file: Path, double: AwDouble) -> subprocess.Popen[str]:
    """The command, ready."""
    words = ("collect", "activitywatch", "--device-file", file, "--server", double.url, "--every", "0.1", "--json")
    process = forking.python(
        *(COMMAND, *words),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["ready"]
    return process


def test_collect_see_and_stop(
    lab: Lab, device_file: Path, double: AwDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: str) -> Any:
        capsys.readouterr()
        assert main(["collect", *words, "--device-file", str(device_file), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    process = collecting(device_file, double)
    try:
        wait_for(lambda: told("status")["recording"])
        found = told("status")
        assert found["process"] == process.pid
        assert 200 < found["lease"]["ends_in_seconds"] <= 300
        assert found["lease"]["types"] == ["afk", "input_counts", "url_visit", "window_focus"]
        # What began before its first look cannot be placed by its clocks.
        wait_for(lambda: any(path.endswith("/events") for path in double.requests))
        begin = utc_now() + timedelta(milliseconds=400)
        wait_for(lambda: utc_now() > begin)
        for number in range(3):
            at = begin + timedelta(milliseconds=number)
            double.insert("w", at, 0, {"app": "editor", "title": f"t{number}"})
        wait_for(lambda: told("status")["counts"].get("recorded", 0) == 2)
        assert told("stop") == {"stopped": process.pid}
        out, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0, err
    ended = json.loads(out)
    assert ended["counts"]["landed"] == 2
    rows = lab.site.world.rows("SELECT window_title FROM desk ORDER BY ts", "vera")
    assert [row["window_title"] for row in rows] == ["t0", "t1"]
    found = told("status")
    assert (found["process"], found["recording"]) == (None, False)
    assert found["spool"]["bytes"] == 0
    assert told("stop") == {"stopped": None}


def test_sigterm_sends_what_there_is_and_a_server_that_is_away_is_said(device_file: Path, double: AwDouble) -> None:
    double.fault = "garbage"
    process = collecting(device_file, double)
    assert process.stderr is not None
    assert "aw-server" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_two_on_one_folder_are_refused(device_file: Path, double: AwDouble, capsys: pytest.CaptureFixture[str]) -> None:
    process = collecting(device_file, double)
    try:
        words = ["collect", "activitywatch", "--device-file", str(device_file), "--server", double.url]
        assert main(words) == 5
        assert "another collector" in capsys.readouterr().err
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_text_for_people(device_file: Path, double: AwDouble, capsys: pytest.CaptureFixture[str]) -> None:
    process = collecting(device_file, double)
    assert _status(device_file, capsys).startswith(("running, and recording nothing", "recording afk, input_counts"))
    process.terminate()
    process.communicate(timeout=30)
    assert _status(device_file, capsys).startswith("not running")
    assert "waiting to be sent: 0 of 67,108,864 bytes, encrypted" in _status(device_file, capsys)


def _status(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["collect", "status", "--device-file", str(file)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("server: https", "server: http", "over TLS only"),
        ("token_file: token\n", "", "token_file, or certificate and key"),
        ("dataset: desk", "dataset: Desk!", "not a valid name"),
        ("folder: spool", "folder: spool\nextra: 1", "unknown key"),
        ("folder: spool", "folder: spool\nspool_mib: 0", "outside"),
        ("device: ada-1\n", "", "'device' is missing"),
    ],
)
def test_a_device_file_that_is_wrong(device_file: Path, old: str, new: str, complaint: str) -> None:
    device_file.write_text(device_file.read_text().replace(old, new))
    with pytest.raises((UsageError, DocumentError), match=complaint):
        read_settings(device_file)


def test_what_cannot_be_used_is_said(device_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "status", "--device-file", str(tmp_path / "none.yaml")]) == 2
    assert main(["collect", "status", "--device-file", str(device_file)]) == 4
    text = device_file.read_text()
    device_file.write_text(text.replace("ca: ca.pem", "ca: none.pem"))
    assert main(["collect", "activitywatch", "--device-file", str(device_file)]) == 2
    assert main(["collect", "activitywatch", "--device-file", str(device_file), "--server", "http://example.com"]) == 2
    assert main(["collect", "activitywatch", "--device-file", str(device_file), "--every", "0"]) == 2
    assert "Traceback" not in capsys.readouterr().err
