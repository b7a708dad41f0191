"""The filter pipeline with what it needs of a lake: a key for its tokens, memory for open runs, entries in the log."""

from __future__ import annotations

import hashlib
import hmac

from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.conform import UNKNOWN_FIELD, UNKNOWN_TYPE
from lake.clear.landing.content.ner import load
from lake.clear.landing.content.screen import ContentScreen
from lake.clear.landing.pipeline import Pipeline, Screen
from lake.errors import ContractBreachError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules.capture import unfiltered
from lake.rules.contract import Contract
from lake.sealed.catalog.catalog import BatchRecord

FILTER_REPORT, FILTER_LOST, BREACH = "filter.report", "filter.lost", "contract.breach"
MASKS = "mask tokens"


class Filtering:
    """Makes pipelines for the deliveries of one lake, and records what they did."""

    def __init__(self, home: Home, actor: Actor, open_runs: OpenRuns, screen: Screen | None = None) -> None:
        self._home = home
        self._actor = actor
        self._open = open_runs
        self._screen = screen

    def pipeline(self, contract: Contract) -> Pipeline:
        """A pipeline for one delivery.

        Raises:
            ContractBreachError: the contract does not say how it is filtered, and has to.
        """
        bare = unfiltered(contract)
        if bare:
            raise ContractBreachError(
                f"the contract of {contract.dataset!r} has the field {bare[0]!r} and does not say how it is filtered",
                hint="put a version with a filter section in force: docs/filter.md",
            )
        return Pipeline(contract, self._screen, self._open)

    def report(self, record: BatchRecord, contract: Contract, pipeline: Pipeline) -> None:
        """Record what the filter did to a batch, and what in it was more than its contract describes."""
        batch = {"dataset": record.dataset, "batch": record.batch_id, "contract": contract.digest}
        dropped = dict(record.counts)
        breaches = {f"above_ceiling.{name}": count for name, count in sorted(pipeline.breaches.items())}
        breaches |= {reason: dropped[reason] for reason in (UNKNOWN_TYPE, UNKNOWN_FIELD) if dropped.get(reason)}
        if breaches:
            self._home.recorder.record(BREACH, self._actor, {**batch, "breaches": breaches})
        fields = {
            **batch,
            "rules": self._screen.digest if self._screen is not None else "",
            "rows_in": pipeline.rows_in,
            "rows_out": pipeline.rows_out,
            "masked": dict(sorted(pipeline.masked.items())),
            "dropped": dropped,
            "given_up": self._open.take_lost(),
        }
        self._home.recorder.record(FILTER_REPORT, self._actor, fields)


def forget_runs(home: Home, actor: Actor, open_runs: OpenRuns) -> None:
    """Say how many keys of runs that were not over go with this process."""
    lost = open_runs.close()
    if lost:
        home.recorder.record(FILTER_LOST, actor, {"keys": lost})


def content_screen(home: Home) -> ContentScreen:
    """The content filter of a lake's process, with the model for names if the settings name one.

    Raises:
        UsageError, IntegrityError: the model cannot be used, or is another than the one pinned.
    """
    model = home.settings.names
    return ContentScreen(mask_tags(home), None if model is None else load(model))


def mask_tags(home: Home) -> bytes:
    """The key of the tokens that stand for masked values: equal values have equal tokens in one lake."""
    return hmac.digest(home.control.collection_key(MASKS), b"filter", hashlib.sha256)
