"""Contracts in force."""

from __future__ import annotations

from datetime import UTC, date

import sqlalchemy as sa

from lake.errors import ContractBreachError, IntegrityError
from lake.gateway.contract_approval import Approvals, not_in_force
from lake.gateway.home import Home
from lake.rules.contract import Contract, parse_contract
from lake.rules.contract_approval import Proposal


class Contracts:
    """Contracts of one lake, read once per version."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.approvals = Approvals(home)
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
        """The contract that a batch is judged by: the version that it names, or the newest in force.

        Raises:
            ContractBreachError: there is no such dataset, or the version is not in force.
        """
        versions = self.approvals.standing().in_force(dataset)
        if not versions:
            raise ContractBreachError(
                f"there is no collection contract for the dataset {dataset!r}", hint="'lake contract propose FILE'"
            )
        today = self._home.clock().astimezone(UTC).date()
        if version is not None:
            if version not in versions:
                raise not_in_force(dataset, version)
            return _begun(self._approved(dataset, versions[version]), today)
        for number in sorted(versions, reverse=True):
            contract = self._approved(dataset, versions[number])
            if contract.effective is None or contract.effective <= today:
                return contract
        return _begun(self._approved(dataset, versions[min(versions)]), today)

    def _approved(self, dataset: str, proposal: Proposal) -> Contract:
        """The contract that was approved."""
        if (dataset, proposal.what.version) not in self._versions:
            self.reload()
        contract = self._versions.get((dataset, proposal.what.version))
        if contract is None or contract.digest != proposal.what.digest:
            raise IntegrityError("a contract is not the one that was approved", hint="run 'lake doctor'")
        return contract

    def confirm(self, connection: sa.Connection, dataset: str, version: int) -> None:
        """See Approvals.confirm."""
        self.approvals.confirm(connection, dataset, version)

    def add(self, text: str, source: str, by: str) -> tuple[Contract, bool]:
        """Put a contract in force that needs no second person; False if this very text is in force already.

        Raises:
            DocumentError, UsageError: it is not valid, or does not follow the newest version.
            DeniedError: a second person has to approve it.
        """
        contract = parse_contract(text, source)
        newest = self.approvals.standing().in_force(contract.dataset).get(contract.version)
        if newest is not None and newest.what.digest == contract.digest:
            return contract, False
        self.approvals.propose(text, source, by, shortcut=True)
        self.reload()
        return contract, True


def _begun(contract: Contract, today: date) -> Contract:
    if contract.effective is not None and contract.effective > today:
        raise ContractBreachError(
            f"version {contract.version} of the contract of {contract.dataset!r} binds from {contract.effective} on",
            hint="name a version that is in force: 'lake contract list'",
        )
    return contract
