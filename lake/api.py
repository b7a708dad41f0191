"""The Python interface: ``connect`` for who queries under a policy, ``open`` and ``create`` for operators.

Embedded use is the operator's own machine: the policy protects from mistakes there, the key store from theft. It is a
boundary against people only behind a gateway that holds the key store for them.
"""

from __future__ import annotations

import getpass
import os
import threading
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakSet

import pyarrow as pa

from lake.clear.reading.image.images import Images
from lake.clear.serving.cache import SliceCache
from lake.client.dataset import Dataset, LocalSource
from lake.client.order import Shard
from lake.client.place import PATIENCE, is_url
from lake.client.progress import Progress
from lake.client.remote import RemoteConnection, connect_remote
from lake.client.result import Result
from lake.client.statements import ShownTable
from lake.clock import Clock, utc_now
from lake.errors import UsageError
from lake.gateway import home as homes
from lake.gateway.cancellation import Cancellation
from lake.gateway.config import Elsewhere
from lake.gateway.contract_approval import Approvals
from lake.gateway.contracts import Contracts
from lake.gateway.home import Home
from lake.gateway.policies import Policies
from lake.gateway.query import Parameters, QueryGateway, Request
from lake.rules.model import Identity
from lake.settings import Secrets, Settings

if TYPE_CHECKING:
    from lake.clear.landing.carry import OpenRuns
    from lake.gateway.ingest import BatchReport

PathLike = str | os.PathLike[str]


def operator_name() -> str:
    """The name of the operating system's user, as which operators are recorded."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _secrets(
    key_file: PathLike | None, passphrase_file: PathLike | None, provider_file: PathLike | None = None
) -> Secrets:
    if key_file is None and passphrase_file is None and provider_file is None:
        return Secrets.from_environment()
    key, passphrase, provider = (Path(path) if path else None for path in (key_file, passphrase_file, provider_file))
    return Secrets(key, passphrase, provider)


class Connection:
    """A principal's view of a lake, for one purpose."""

    def __init__(self, home: Home, user: str, purpose: str, role: str | None) -> None:
        self._home = home
        self._user, self._purpose, self._role = user, purpose, role
        contracts = Contracts(home)
        self._policies = Policies(home, contracts)
        settings = home.settings
        share, seconds = settings.slice_cache // 2, settings.slice_seconds
        images = Images(settings.image_bytes, share, seconds, least_rows=settings.image_rows)
        cache = SliceCache(share, seconds)
        self._gateway = QueryGateway(
            home, contracts, self._policies, cache=cache, images=images if settings.image_bytes else None
        )
        self._lock = threading.Lock()
        self._open: WeakSet[Cancellation] = WeakSet()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(self, query: str, parameters: Parameters = (), *, progress: Progress = None) -> Result:
        """Run one SELECT over the datasets that the policy grants.

        Args:
            parameters: values of its parameters, by position or by name.
            progress: called with rows and bytes so far, or True for a line on the terminal.

        Raises:
            DeniedError, QueryRefusedError, QueryFailedError, LimitExceededError, IntegrityError, UnavailableError.
        """
        request = self._request(query, parameters)
        with self._lock:
            self._open.add(request.cancellation)
        return Result(self._gateway.run(request), progress)

    def cancel(self) -> None:
        """Break off every query of this connection, from any thread; whoever reads gets QueryCancelledError."""
        with self._lock:
            wishes = list(self._open)
        for wish in wishes:
            wish.cancel()

    def tables(self) -> list[ShownTable]:
        """The tables that may be read for this purpose, in order of name.

        Raises:
            DeniedError: none.
        """
        admissions = self._gateway.admissions
        allowed = admissions.allowed(self._policies.current(), Identity(self._user), self._purpose, self._role)
        schemas, descriptions = admissions.schemas(allowed), admissions.descriptions(allowed)
        return [ShownTable(name, schemas[name], descriptions[name]) for name in sorted(schemas)]

    def dataset(
        self,
        query: str,
        parameters: Parameters = (),
        *,
        columns: tuple[str, ...] | list[str] | None = None,
        shuffle: int | None = None,
        seed: int = 0,
        shard: tuple[int, int] | None = None,
    ) -> Dataset:
        """A query to train on, which runs anew for every epoch; see ``Dataset``."""
        request = self._request(query, parameters)
        describe = self._gateway.describe
        source = LocalSource(query, lambda: self.sql(query, parameters), lambda: describe(request).schema)
        return Dataset(source, None if columns is None else tuple(columns), shuffle, seed, Shard(*shard or ()))

    def _request(self, query: str, parameters: Parameters) -> Request:
        return Request(Identity(self._user), self._purpose, query, parameters, self._role)

    def close(self) -> None:
        """Give everything back."""
        self._home.close()


class Lake:
    """A lake in an operator's hands."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.contracts = Contracts(home)
        self.policies = Policies(home, self.contracts)
        self.actor = home.actor(operator_name())
        self._open_runs: OpenRuns | None = None

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ingest(
        self,
        dataset: str,
        rows: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch],
        *,
        batch_id: str | None = None,
        contract_version: int | None = None,
    ) -> BatchReport:
        """Land rows as one batch, exactly once by ``batch_id`` (default: the rows' own digest) and content.

        ``rows`` need the columns ``employee``, ``ts`` and ``type`` and the fields of the dataset's contract.

        Raises:
            BatchRefusedError: nothing landed.
        """
        from lake.gateway.ingest import Delivery, HashedBatches, Ingest  # noqa: PLC0415 - readers start quicker without

        if isinstance(rows, pa.Table):
            schema, batches = rows.schema, iter(rows.to_batches())
        elif isinstance(rows, pa.RecordBatchReader):
            schema, batches = rows.schema, iter(rows)
        else:
            batches = iter(rows)
            first = next(batches, None)
            if first is None:
                raise UsageError("there are no rows to land")
            schema, batches = first.schema, chain([first], batches)
        hashed = HashedBatches(schema, batches)
        delivery = Delivery(dataset, hashed, hashed, batch_id, contract_version)
        return Ingest(self.home, self.contracts, self.actor, self.open_runs).land(delivery)

    @property
    def open_runs(self) -> OpenRuns:
        """Typing that was not over when the last batch ended: in memory, until this lake is closed."""
        from lake.clear.landing.carry import OpenRuns  # noqa: PLC0415

        if self._open_runs is None:
            self._open_runs = OpenRuns()
        return self._open_runs

    def add_contract(self, text: str, source: str = "contract") -> bool:
        """Put a collection contract in force; False if it is in force already.

        Raises:
            DeniedError: it collects more than before, and a second person has to approve it.
        """
        return self.contracts.add(text, source, operator_name())[1]

    def apply_policy(self, text: str, source: str = "policy") -> bool:
        """Put a policy in force; False if it is in force already."""
        return self.policies.apply(text, source, self.actor)[1]

    def close(self) -> None:
        """Give everything back; typing that is not over is forgotten, and the log says how much."""
        try:
            if self._open_runs is not None:
                from lake.gateway.filtering import forget_runs  # noqa: PLC0415

                forget_runs(self.home, self.actor, self._open_runs)
        finally:
            self.home.close()


def create(
    path: PathLike,
    *,
    key_file: PathLike | None = None,
    passphrase_file: PathLike | None = None,
    provider_file: PathLike | None = None,
    key_store: PathLike | None = None,
    store: str = "",
    endpoint: str = "",
    catalog_url: str = "",
    keys_url: str = "",
    single_approver: bool = False,
) -> None:
    """Make a new lake in a folder that does not exist or is empty; makes the key file if it does not exist.

    Args:
        store: ``s3://BUCKET/PREFIX`` for the data files, with ``?region=NAME`` if need be; the folder otherwise.
        endpoint: URL of the store's server, if it is not AWS's own. Credentials are taken from the environment.
        catalog_url, keys_url: PostgreSQL databases for the catalog and the key store, without credentials; files
            otherwise.
        single_approver: let one person alone put contracts in force while their dataset has no rows, for trials. It
            cannot be changed later.
    """
    user = operator_name()

    def first(home: Home) -> None:
        if single_approver:
            Approvals(home).make_single(user)

    homes.create(
        Path(path),
        _secrets(key_file, passphrase_file, provider_file),
        user=user,
        key_store=Path(key_store) if key_store else None,
        elsewhere=Elsewhere(store, endpoint, catalog_url, keys_url),
        first=first,
    )


def open(  # noqa: A001 - the documented name
    path: PathLike,
    *,
    key_file: PathLike | None = None,
    passphrase_file: PathLike | None = None,
    provider_file: PathLike | None = None,
    settings: Settings | None = None,
    clock: Clock = utc_now,
) -> Lake:
    """Open a lake as its operator."""
    return Lake(
        Home.open(Path(path), _secrets(key_file, passphrase_file, provider_file), settings=settings, clock=clock)
    )


@overload
def connect(
    path: PathLike,
    *,
    user: str,
    purpose: str,
    role: str | None = None,
    key_file: PathLike | None = None,
    passphrase_file: PathLike | None = None,
    provider_file: PathLike | None = None,
    settings: Settings | None = None,
    clock: Clock = utc_now,
) -> Connection: ...


@overload
def connect(
    path: str,
    *,
    purpose: str | None = None,
    role: str | None = None,
    token: str | Callable[[], str] | None = None,
    token_file: PathLike | None = None,
    ca: PathLike | None = None,
    cert: PathLike | None = None,
    key: PathLike | None = None,
    endpoints: int = 1,
    patience: float = PATIENCE,
) -> RemoteConnection: ...


def connect(path: PathLike, **options: Any) -> Connection | RemoteConnection:
    """Open a lake to query it for a purpose, under the policy in force.

    A folder is opened in this process, as ``user`` and with what opens its key store. An address such as
    ``grpc+tls://host:8815`` is that of a gateway, which knows the user by a token or a certificate.

    Args:
        role: which of the user's roles, if several grant the same.
        token: the token, or a function that gives one.
        token_file: a file with the token, read again when it has changed.
        ca: file with the certificates to trust instead of the system's; ``cert`` and ``key`` are the caller's own.
        endpoints: in how many parts results are read at once, where the gateway can divide a query.
        patience: seconds to wait for an answer, and between two batches.

    Raises:
        UsageError: there is no lake, or the options do not go together.
        TypeError: an option belongs to the other kind of place.
    """
    return connect_remote(str(path), **options) if is_url(path) else _connect_embedded(path, **options)


def _connect_embedded(
    path: PathLike,
    *,
    user: str,
    purpose: str,
    role: str | None = None,
    key_file: PathLike | None = None,
    passphrase_file: PathLike | None = None,
    provider_file: PathLike | None = None,
    settings: Settings | None = None,
    clock: Clock = utc_now,
) -> Connection:
    home = Home.open(Path(path), _secrets(key_file, passphrase_file, provider_file), settings=settings, clock=clock)
    return Connection(home, user, purpose, role)
