"""Names of people, places and organisations in running text, by a model of language: spaCy, off unless one is named.

The operator names the model's folder and its digest. What is loaded is a private copy of the files that were digested,
so nobody can change one in between. The model knows nothing of a lake, and what it finds goes the way of all finds.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lake.clear.landing.content.detector import FILLER, Span
from lake.errors import IntegrityError, UsageError
from lake.settings import LanguageModel

LABELS = {"PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "ORG": "ORGANIZATION"}
"""Categories of the labels that models give; others are not used."""
_COMPONENTS = frozenset({"tok2vec", "transformer", "ner"})
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Named:
    """The names in one text, as a detector that has looked already."""

    spans: Sequence[Span]

    def find(self, _: bytes) -> Iterator[Span]:
        """See Detector."""
        yield from self.spans


class NameFinder:
    """Finds names; may be shared by threads, of which one works at a time.

    Attributes:
        digest: of the model and the library that runs it.
    """

    def __init__(self, nlp: Any, digest: str) -> None:
        self.digest = digest
        self._nlp = nlp
        self._lock = threading.Lock()

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The names in each text, with their places in its UTF-8 bytes."""
        # Without the zone the library would keep every word that it has seen for as long as the process lives.
        with self._lock, self._nlp.memory_zone():
            docs = self._nlp.pipe(texts, batch_size=_BATCH)
            return [list(_spans(text, doc)) for text, doc in zip(texts, docs, strict=True)]


@lru_cache(maxsize=2)
def load(model: LanguageModel) -> NameFinder:
    """The model in a folder, if it is the one that was pinned; loaded once in a process.

    Raises:
        UsageError: there is none, or the extra is not installed.
        IntegrityError: its digest is another.
    """
    try:
        import spacy  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise UsageError(
            "a model for names is given, and spaCy is not installed", hint="pip install 'telemetry-lake[ner]'"
        ) from None
    with tempfile.TemporaryDirectory(prefix="lake-ner-") as folder:
        found = _copy(model.folder, Path(folder))
        if found != model.digest:
            raise IntegrityError(
                f"the model for names has the digest {found}, and not the one that is pinned",
                hint="put the right model there, or pin this one after somebody has looked at it: docs/filter.md",
            )
        try:
            steps = spacy.util.load_config(Path(folder) / "config.cfg")["nlp"]["pipeline"]
            nlp: Any = spacy.load(folder, exclude=[name for name in steps if name not in _COMPONENTS])
            labels = set(nlp.get_pipe("ner").labels)
        except Exception:  # noqa: BLE001 - of the library and of what it loads
            raise UsageError(
                "the model for names cannot be loaded", hint="a folder of spaCy's with the step 'ner', of its version"
            ) from None
    if not labels & LABELS.keys():
        raise UsageError("the model for names knows no people, places or organisations", hint=", ".join(LABELS))
    return NameFinder(nlp, f"{model.digest} spacy {version('spacy')}")


def _spans(text: str, doc: Any) -> Iterator[Span]:
    for entity in doc.ents:
        category = LABELS.get(entity.label_)
        if category is None:
            continue
        start = len(text[: entity.start_char].encode())
        for piece in text[entity.start_char : entity.end_char].encode().split(bytes([FILLER])):
            name = piece.strip()
            if name:
                first = start + piece.index(name)
                yield Span(first, first + len(name), category, name)
            start += len(piece) + 1


def _copy(folder: Path, to: Path) -> str:
    """Copy the files of a folder, and give the digest of what was copied: of the lines of sha256sum, in byte order."""
    lines = hashlib.sha256()
    for name in sorted(_files(folder), key=os.fsencode):
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise UsageError(f"{folder / name} cannot be read: {os.strerror(error.errno or 0)}") from None
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
        lines.update(f"{hashlib.sha256(content).hexdigest()}  ./{name}\n".encode())
    return f"sha256:{lines.hexdigest()}"


def _files(folder: Path) -> Iterator[str]:
    """Names of the files below a folder, as far as they are plain."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder with a model for names", hint="LAKE_NER_MODEL names one")
    for file in folder.rglob("*"):
        mode = file.lstat().st_mode
        name = file.relative_to(folder).as_posix()
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode) or not name.isprintable() or "\\" in name:
            raise UsageError(
                "the folder of the model for names holds something that is no plain file", hint=str(folder)
            )
        yield name
