"""Contracts in force."""

from __future__ import annotations

from lake.errors import ContractBreachError, UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules.capture import check_filtered
from lake.rules.contract import Contract, check_successor, parse_contract
from lake.sealed.audit import entries


class Contracts:
    """Contracts of one lake, read once per version."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._versions: dict[tuple[str, int], Contract] = {}
        self.reload()

    def reload(self) -> None:
        """Take in what other processes have added."""
        for (dataset, version), text in self._home.catalog.contract_texts().items():
            if (dataset, version) not in self._versions:
                self._versions[dataset, version] = parse_contract(text, f"contract of {dataset}")

    def newest(self) -> dict[str, Contract]:
        """The newest contract of every dataset."""
        return {dataset: contract for (dataset, _), contract in sorted(self._versions.items())}

    def all(self) -> list[Contract]:
        """Every version that ever was in force, oldest first."""
        return [contract for _, contract in sorted(self._versions.items())]

    def get(self, dataset: str, version: int | None = None) -> Contract:
        """The contract that a batch is judged by.

        Raises:
            ContractBreachError: there is no such dataset, or no such version.
        """
        newest = self.newest().get(dataset)
        contract = newest if version is None else self._versions.get((dataset, version))
        if newest is None:
            raise ContractBreachError(
                f"there is no collection contract for the dataset {dataset!r}", hint="'lake dataset add CONTRACT.yaml'"
            )
        if contract is None:
            raise ContractBreachError(
                f"the dataset {dataset!r} has no contract version {version}", hint=f"the newest is {newest.version}"
            )
        return contract

    def add(self, text: str, source: str, actor: Actor) -> tuple[Contract, bool]:
        """Put a contract in force; False if this very text is in force already.

        Raises:
            DocumentError, UsageError: it is not valid, or does not follow the version in force.
        """
        contract = parse_contract(text, source)
        check_filtered(contract)
        current = self.newest().get(contract.dataset)
        if current is not None and current.digest == contract.digest:
            return contract, False
        if current is None and contract.version != 1:
            raise UsageError("the first contract of a dataset has version 1")
        if current is not None:
            check_successor(current, contract)
        self._home.recorder.record(
            entries.CONTRACT,
            actor,
            {"dataset": contract.dataset, "version": contract.version, "contract": contract.digest},
        )
        self._home.advance(
            self._home.catalog.add_contract(contract.dataset, contract.version, contract.digest, contract.text)
        )
        self.reload()
        return contract, True
