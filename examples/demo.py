"""The main job, end to end, on generated telemetry: land, query, refuse, audit, and search the disk for plaintext.

Runs the ``lake`` command as a user would, in ``demo-output/``. Fails loudly if any step does not do what it should.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from scan_for_plaintext import ScanResult, scan

from lake.clear.landing.synth import canaries

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "demo-output"
EXAMPLES = ROOT / "examples"
EMPLOYEES, ROWS, SEED = 50, 500_000, 7
LAKE = [sys.executable, "-m", "lake.cli.main"]
BALABIT = Path(os.environ.get("LAKE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "balabit"
DENIED, INTEGRITY = 3, 4


class DemoError(SystemExit):
    """The demo did not go as it must."""


def say(text: str = "") -> None:
    print(text, flush=True)


def chapter(title: str) -> None:
    say(f"\n== {title}")


def lake(*arguments: str, expect: int = 0, show: int = 12, quiet: bool = False) -> str:
    """Run one command, show it with the head of its output, and insist on its exit code."""
    shown = " ".join(f'"{part}"' if " " in part else part for part in arguments)
    say(f"$ lake {shown}")
    started = time.monotonic()
    done = subprocess.run([*LAKE, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    seconds = time.monotonic() - started
    if not quiet:
        lines = (done.stdout + done.stderr).rstrip().split("\n")
        for line in lines[:show]:
            say(f"  {line[:160]}")
        if len(lines) > show:
            say(f"  ... {len(lines) - show} more lines")
    say(f"  ({seconds:.2f} s, exit code {done.returncode})")
    if done.returncode != expect:
        raise DemoError(f"the demo failed: exit code {done.returncode}, expected {expect}\n{done.stderr}")
    return done.stdout


def prepare() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    os.environ["LAKE_HOME"] = str(OUT / "lake")
    os.environ["LAKE_KEY_FILE"] = str(OUT / "operator.key")
    os.environ.pop("LAKE_PASSPHRASE_FILE", None)
    os.chdir(ROOT)


def set_up() -> None:
    chapter("A new lake, collection contracts, a policy")
    lake("init", "--single-approver")
    lake("dataset", "add", "examples/contracts/desktop.yaml")
    lake("dataset", "add", "examples/contracts/mouse.yaml")
    lake("policy", "check", "examples/policies/policy.yaml")
    lake("policy", "apply", "examples/policies/policy.yaml")
    lake("policy", "test", "examples/policies/expectations.yaml")


def land() -> None:
    chapter("Batches land, encrypted, by employee and sensitivity; exactly once; nothing beyond the contract")
    rows = str(OUT / "generated.arrow")
    lake("synth", "--employees", str(EMPLOYEES), "--rows", str(ROWS), "--seed", str(SEED), "--output", rows)
    lake("ingest", rows, "--dataset", "desktop_events")
    say("The same file again:")
    lake("ingest", rows, "--dataset", "desktop_events")
    extra = OUT / "too-much.ndjson"
    event = {"employee": "E00001", "ts": "2026-07-02T09:00:00Z"}
    extra.write_text(
        json.dumps({**event, "type": "window_focus", "app": "Ledgerline", "screenshot": "iVBORw0KGgo"})
        + "\n"
        + json.dumps({**event, "type": "screen_recording"})
        + "\n"
    )
    say("A collector that records more than the contract says:")
    lake("ingest", str(extra), "--dataset", "desktop_events")
    if BALABIT.is_dir():
        say("Real mouse telemetry of six people:")
        lake("ingest", str(BALABIT), "--dataset", "mouse_events", "--importer", "balabit")
    else:
        say(f"(no real mouse telemetry at {BALABIT}; that step is left out)")
    lake("status")


def query() -> None:
    chapter("An ML engineer reads what the grant allows: sensitivity 1 and 2, pseudonyms, masked titles")
    slice_of = ("--user", "mira", "--purpose", "train_assistant")
    counts = "SELECT type, count(*) AS n, count(DISTINCT employee) AS people, max(sensitivity) AS highest"
    lake("query", f"{counts} FROM desktop_events GROUP BY type ORDER BY n DESC", *slice_of)
    focus = "SELECT employee, ts, app, window_title FROM desktop_events WHERE type = 'window_focus' ORDER BY ts LIMIT 5"
    lake("query", focus, *slice_of)
    export = "SELECT employee, ts, type, x, y, hold_ms FROM desktop_events WHERE type IN ('mouse', 'key')"
    lake("query", export, *slice_of, "--format", "parquet", "--output", str(OUT / "slice.parquet"))
    if BALABIT.is_dir():
        mouse = "SELECT employee, count(*) AS n, round(avg(x)) AS x FROM mouse_events GROUP BY employee ORDER BY n"
        lake("query", mouse, *slice_of)
    chapter("Hidden columns do not exist for her; whoever has no grant sees no table at all")
    lake("query", "SELECT prompt_text FROM desktop_events", *slice_of, expect=2)
    lake("query", "SELECT * FROM read_parquet('lake/data/**')", *slice_of, expect=2)
    lake(
        "query",
        f"{counts} FROM desktop_events GROUP BY type",
        "--user",
        "sam",
        "--purpose",
        "train_assistant",
        expect=DENIED,
    )
    lake(
        "query",
        f"{counts} FROM desktop_events GROUP BY type",
        "--user",
        "mira",
        "--purpose",
        "incident_response",
        expect=DENIED,
    )
    chapter("An incident responder reads level 4 of three people; an employee reads their own rows")
    notes = "SELECT employee, ts, note_text FROM desktop_events WHERE type = 'performance_note' ORDER BY ts LIMIT 3"
    lake("query", notes, "--user", "ines", "--purpose", "incident_response")
    own = "SELECT employee, sensitivity, count(*) AS n FROM desktop_events GROUP BY ALL ORDER BY sensitivity"
    lake("query", own, "--user", "emil", "--purpose", "own_data")


def audit() -> None:
    chapter("Who could read, for whom keys were released, whose rows were read")
    lake("audit", "blast-radius", "--user", "mira")
    lake("audit", "subject-report", "--employee", "E00001", show=24)
    lake("audit", "show", "--type", "query.deny")
    lake("audit", "verify")


def keys() -> None:
    chapter("Keys in the hands of ops: rotated, backed up, written anew; one person leaves for good")
    backups, note = str(OUT / "key-backups"), str(OUT / "shredded.note")
    lake("keys", "rotate", "root", "--all")
    lake("keys", "rotate", "bucket", "--level", "4")
    lake("keys", "backup", "--to", backups)
    say("Whatever was decrypted for mira, under fresh keys:")
    lake("keys", "rekey", "--released-to", "mira")
    lake("keys", "rekey", "--employee", "E00002", "--yes")
    say("E00003 leaves:")
    lake("keys", "shred", "--employee", "E00003", "--backup", backups)
    lake(
        "keys",
        "shred",
        "--employee",
        "E00003",
        "--backup",
        backups,
        "--copies-kept",
        "0",
        "--certificate",
        note,
        "--yes",
    )
    lake("keys", "verify-shred")
    lake("keys", "verify-certificate", note)
    everything = "SELECT count(DISTINCT employee) AS people FROM desktop_events"
    lake("query", everything, "--user", "vera", "--purpose", "incident_response")
    lake("keys", "verify", "--deks")
    lake("audit", "reconcile")
    lake("keys", "status", show=40)


def tamper() -> None:
    chapter("One bit changed on disk: the query fails, and the check-up names the file")
    files = (OUT / "lake" / "data" / "desktop_events").rglob("*.parquet")
    victim = max(files, key=lambda path: path.stat().st_size)
    original = victim.read_bytes()
    content = bytearray(original)
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    everything = "SELECT * FROM desktop_events ORDER BY ts LIMIT 3"
    rows = lake("query", everything, "--user", "vera", "--purpose", "incident_response", expect=INTEGRITY)
    if rows:
        raise DemoError("the demo failed: a damaged file gave rows")
    lake("doctor", expect=INTEGRITY)
    victim.write_bytes(original)
    lake("doctor")


def search() -> ScanResult:
    chapter("Every byte of the lake is searched for what was landed")
    needles = [text for texts in canaries(EMPLOYEES, SEED).values() for text in texts]
    needles += ["mira", "ines", "vera", "iVBORw0KGgo", "screen_recording", "train_assistant FROM"]
    needles = [text for text in needles if len(text) >= 6]
    source = OUT / "source"
    source.mkdir()
    (OUT / "generated.arrow").rename(source / "generated.arrow")
    control = scan(source, needles)
    say(f"  control: in the generated file, {len({hit.needle for hit in control.hits})} of {len(needles)} are found")
    if len({hit.needle for hit in control.hits}) < len(needles) // 2:
        raise DemoError("the demo failed: the search does not find what is there")
    found = scan(OUT / "lake", needles)
    # Contracts are public, and say which programs may be recorded; anywhere else their names are data.
    public = (EXAMPLES / "contracts" / "desktop.yaml").read_text("utf-8")
    expected = [hit for hit in found.hits if hit.needle in public and hit.file.startswith("catalog.db")]
    found = replace(found, hits=tuple(hit for hit in found.hits if hit not in expected))
    named = {hit.needle for hit in expected}
    say(f"  {len(named)} names of programs stand in the catalog, because the contract lists them")
    for hit in found.hits:
        say(f"  FOUND {hit.needle!r} in {hit.file} as {hit.form}")
    say(
        f"  lake: {found.bytes:,} bytes in {found.files} files and their names, for {found.needles} texts raw, hex, "
        f"base64, UTF-16 and unpacked: {len(found.hits)} found"
    )
    if found.hits:
        raise DemoError("the demo failed: plaintext on disk")
    return found


def report(found: ScanResult) -> None:
    from lake import api  # noqa: PLC0415 - loaded when it is needed
    from lake.cli.overview import Scan  # noqa: PLC0415
    from lake.cli.report import build_overview, write_report  # noqa: PLC0415

    chapter("A picture of what happened")
    with api.open(OUT / "lake", key_file=OUT / "operator.key") as opened:
        overview = build_overview(opened, Scan(found.bytes, found.needles, len(found.hits)))
    write_report(OUT / "report.html", overview)
    say(f"  {OUT / 'report.html'}")


def main() -> None:
    started = time.monotonic()
    prepare()
    set_up()
    land()
    query()
    audit()
    keys()
    tamper()
    found = search()
    chapter("And the same query as someone without a grant, once more")
    same = "SELECT type, count(*) AS n FROM desktop_events GROUP BY type"
    lake("query", same, "--user", "mira", "--purpose", "train_assistant", quiet=True)
    lake("query", same, "--user", "sam", "--purpose", "train_assistant", expect=DENIED)
    report(found)
    say(f"\nAll of it as promised, in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
