"""Names by a model of language: the one that is pinned and no other, behind the other detectors, all or nothing."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.content import ner
from lake.clear.landing.content.detector import FILLER, Span
from lake.clear.landing.content.ner import NameFinder, load
from lake.clear.landing.content.screen import DIGEST, ContentScreen
from lake.clear.landing.content.tokens import TOKEN
from lake.clear.landing.pipeline import Pipeline
from lake.errors import FilterFailedError, IntegrityError, UsageError
from lake.rules.contract import parse_contract
from lake.settings import LanguageModel, Settings
from tests import world as w
from tests.language_models import TEXT, digest_of, train

KEY = b"k" * 32
MARKED = re.compile(r"today \[PERSON:[a-p]{16}\] of \[ORGANIZATION:[a-p]{16}\] met us in \[LOCATION:[a-p]{16}\] again")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Trained once."""
    return train(tmp_path_factory.mktemp("models") / "names")


@pytest.fixture(scope="module")
def screen(model: LanguageModel) -> ContentScreen:
    """The content filter with it."""
    return ContentScreen(KEY, load(model))


@pytest.fixture
def own(model: LanguageModel, tmp_path: Path) -> Path:
    """A copy of its folder that a test may change."""
    return Path(shutil.copytree(model.folder, tmp_path / "own"))


def masked(screen: ContentScreen, *texts: str | None) -> list[Any]:
    """Texts after the screen."""
    found: list[Any] = screen.apply({"text": pa.array(texts, pa.string())}).columns["text"].to_pylist()
    return found


def test_names_become_tokens_and_raise_their_rows(screen: ContentScreen) -> None:
    """By category, counted by rows; a text without names stays as it is."""
    done = screen.apply({"text": pa.array([TEXT, "it is ready", None, TEXT, "12"])})
    first, ready, nothing, again, number = done.columns["text"].to_pylist()
    assert MARKED.fullmatch(first)
    assert (first, ready, nothing, number) == (again, "it is ready", None, "12")
    assert done.sensitivities["text"].to_pylist() == [3, 1, 1, 3, 1]
    assert done.counts == {"PERSON": 2, "ORGANIZATION": 2, "LOCATION": 2}


def test_without_it_the_filter_is_as_it_was(screen: ContentScreen) -> None:
    """And both say by which rules they filter."""
    plain = ContentScreen(KEY)
    assert masked(plain, TEXT) == [TEXT]
    assert plain.digest == DIGEST != screen.digest
    assert len(screen.digest) == len(DIGEST)


def test_only_running_text_is_looked_into(screen: ContentScreen) -> None:
    """A single word is the name of a program or a site more often than of a person."""
    assert masked(screen, "Norcastle", "ruth-okafor.example", "Okafor 12") == [
        *("Norcastle", "ruth-okafor.example", "Okafor 12")
    ]


def test_what_detectors_find_is_found_as_before(screen: ContentScreen) -> None:
    """A name beside a card raises nothing above the card's sensitivity, and lowers nothing."""
    plain = ContentScreen(KEY)
    texts = [f"{TEXT} 4539148803436467", "mail jane@example.com", "it is ready, password: hunter2!x"]
    with_names = screen.apply({"a": pa.array(texts)})
    without = plain.apply({"a": pa.array(texts)})
    assert with_names.sensitivities["a"].to_pylist() == without.sensitivities["a"].to_pylist() == [4, 3, 4]
    assert without.counts.items() <= with_names.counts.items()
    assert "4539" not in with_names.columns["a"].to_pylist()[0]


def test_a_name_is_replaced_where_it_stands(screen: ContentScreen) -> None:
    """Also behind characters of several bytes, invisible ones and others that are read as something else."""
    before = "“✓ \u00ad１２” "
    (text,) = masked(screen, f"{before}{TEXT}")
    assert text.startswith(before)
    assert MARKED.fullmatch(text.removeprefix(before))
    assert [f"{before}{TEXT}"[start:end] for start, end, _ in screen.spans(f"{before}{TEXT}")] == [
        *("Ruth Okafor", "Norcastle", "Oldport")
    ]


def test_tokens_are_no_names(screen: ContentScreen) -> None:
    """What was filtered is left alone when it is filtered again."""
    (once,) = masked(screen, TEXT)
    (twice,) = masked(screen, once)
    assert set(TOKEN.findall(once)) <= set(TOKEN.findall(twice))


def test_a_name_around_a_token_is_what_stands_beside_it() -> None:
    """A model may take a token for a part of a name."""

    class Entity:
        label_, start_char, end_char = "PERSON", 2, 10

    class Doc:
        ents = (Entity(),)

    text = f"ü Ab {chr(FILLER)} Cde f"
    assert list(ner._spans(text, Doc())) == [Span(3, 5, "PERSON", b"Ab"), Span(8, 11, "PERSON", b"Cde")]


def test_no_word_is_remembered(model: LanguageModel) -> None:
    """The library keeps what it reads for as long as it is loaded, unless it is told when that is over."""
    finder = load(model)
    finder.find([TEXT])
    strings = finder._nlp.vocab.strings
    before = len(strings)
    finder.find(["Zanzibarquux was with Xylophonquux in Quuxville"])
    assert len(strings) == before
    assert "Zanzibarquux" not in strings


def test_threads_share_it(model: LanguageModel) -> None:
    """Each has its own answers."""
    finder = load(model)
    expected = finder.find([TEXT, "it is ready"] * 20)
    answers: list[list[list[Span]]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(finder.find([TEXT, "it is ready"] * 20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 4


def test_any_change_of_the_model_is_refused(model: LanguageModel, own: Path) -> None:
    """A byte, a file more, a file less, a name: only what was pinned is loaded."""
    assert digest_of(own) == model.digest
    load(LanguageModel(own, model.digest))
    weights, meta = own / "ner" / "model", own / "meta.json"
    content = weights.read_bytes()

    def refused() -> None:
        load.cache_clear()
        with pytest.raises(IntegrityError, match="not the one that is pinned"):
            load(LanguageModel(own, model.digest))

    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused()
    weights.write_bytes(content)
    (own / "more").write_bytes(b"")
    refused()
    (own / "more").unlink()
    meta.rename(own / "meta.jsom")
    refused()
    (own / "meta.jsom").unlink()
    refused()


def test_what_is_digested_is_what_is_loaded(model: LanguageModel, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who changes the folder in between changes nothing that is used."""
    import spacy

    read = spacy.util.load_config

    def late(*arguments: Any, **options: Any) -> Any:
        shutil.rmtree(own, ignore_errors=True)
        return read(*arguments, **options)

    monkeypatch.setattr(spacy.util, "load_config", late)
    load.cache_clear()
    assert load(LanguageModel(own, model.digest)).find([TEXT])[0]


def test_folders_that_hold_no_model_for_names(own: Path, tmp_path: Path) -> None:
    """Each with what to do."""

    def refused(folder: Path, digest: str, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            load(LanguageModel(folder, digest))

    refused(tmp_path / "none", "sha256:" + "0" * 64, "no folder")
    (own / "link").symlink_to(own / "meta.json")
    refused(own, "sha256:" + "0" * 64, "no plain file")
    (own / "link").unlink()
    (own / "config.cfg").write_text("[nlp]\nlang = en\npipeline = []\n")
    refused(own, digest_of(own), "cannot be loaded")
    other = train(tmp_path / "other", ("DRUG", "DOSE", "ROUTE"))
    refused(other.folder, other.digest, "knows no people")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"LAKE_NER_MODEL": "/models/names"}, "without its digest"),
        ({"LAKE_NER_DIGEST": "sha256:" + "0" * 64}, "without the model"),
        ({"LAKE_NER_MODEL": "/models/names", "LAKE_NER_DIGEST": "md5:1"}, "without its digest"),
    ],
)
def test_a_model_goes_with_its_digest(environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, which every process of a lake reads."""
    assert Settings().names is None
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=says):
        Settings()


class Broken(NameFinder):
    """A model that does not do what it should."""

    def __init__(self, ending: threading.Event | None) -> None:
        super().__init__(None, "broken")
        self._ending = ending

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        if self._ending is None:
            raise RuntimeError(texts[0])
        self._ending.wait(20)
        return [[] for _ in texts]


@pytest.mark.parametrize("hangs", [False, True])
def test_a_model_that_fails_or_hangs_lets_nothing_land(hangs: bool) -> None:
    """The delivery is to be sent again, and no error quotes it."""
    ending = threading.Event()
    screen = ContentScreen(KEY, Broken(ending if hangs else None))
    pipeline = Pipeline(parse_contract(w.CONTRACT, "contract"), screen, OpenRuns(), step_s=0.3 if hangs else 60)
    rows = w.table([w.row(w.ADA, w.NOW.replace(tzinfo=None), "focus", app="Sent-QX", title=TEXT)])
    conformed = rows.to_batches()
    with pytest.raises(FilterFailedError, match="longer than" if hangs else "failed") as caught:
        list(pipeline.run(conformed))
    ending.set()
    assert "Okafor" not in str(caught.value)
