"""Contracts by which rows were stored, of whatever version, in force or not."""

from __future__ import annotations

from lake.errors import IntegrityError
from lake.gateway.home import Home
from lake.rules.contract import Contract, parse_contract


class StoredContracts:
    """The contracts that files name, read once per version."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._known: dict[tuple[str, int], Contract] = {}

    def get(self, dataset: str, version: int) -> Contract:
        """The contract of a file.

        Raises:
            IntegrityError: there is no such version.
        """
        if (dataset, version) not in self._known:
            for key, text in self._home.catalog.contract_texts(dataset).items():
                self._known[key] = parse_contract(text, f"contract of {dataset}")
        found = self._known.get((dataset, version))
        if found is None:
            raise IntegrityError(
                f"a file names a contract version of {dataset!r} that there is not", hint="'lake doctor'"
            )
        return found
