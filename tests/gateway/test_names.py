"""A lake whose processes look for names with a pinned model: what lands, and what refuses to start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lake.clear.landing.content.ner import load
from lake.errors import IntegrityError
from lake.gateway.flight.door import Address
from lake.gateway.receiving.process import Receiving
from lake.settings import LanguageModel
from tests import world as w
from tests.language_models import TEXT, train
from tests.world import World


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    """Trained once."""
    return train(tmp_path_factory.mktemp("models") / "names")


def test_names_do_not_land(world: World, model: LanguageModel) -> None:
    """The row is more sensitive than its contract says, and the log has the rules with the model in them."""
    rows = w.table([w.row(w.ADA, w.NOW.replace(tzinfo=None), "focus", app="Sent-QX", title=TEXT)])
    with world.open(settings=replace(w.small_settings(), names=model)) as lake:
        report = lake.ingest("events", rows, batch_id="names")
    assert (report.masked, list(report.levels)) == ({"PERSON": 1, "ORGANIZATION": 1, "LOCATION": 1}, ["3"])
    (row,) = world.rows("SELECT title FROM events WHERE app = 'Sent-QX'")
    assert not any(name in row["title"] for name in ("Okafor", "Norcastle", "Oldport"))
    with world.open() as lake:
        assert lake.ingest("events", rows, batch_id="plain").rules != report.rules


def test_nothing_starts_with_another_model(world: World, model: LanguageModel) -> None:
    """Neither a server nor an ingest by hand; without landing anything."""
    load.cache_clear()
    other = replace(model, digest="sha256:" + "0" * 64)
    rows = w.table([w.row(w.ADA, w.NOW.replace(tzinfo=None), "focus", app="Sent-QX")])
    with world.open(settings=replace(w.small_settings(), names=other)) as lake:
        with pytest.raises(IntegrityError, match="not the one that is pinned"):
            Receiving(lake.home, "ingest-host", [Address("127.0.0.1", 0)])
        with pytest.raises(IntegrityError, match="not the one that is pinned"):
            lake.ingest("events", rows)
    assert world.rows("SELECT * FROM events WHERE app = 'Sent-QX'") == []
