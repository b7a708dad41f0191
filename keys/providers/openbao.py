"""The OpenBao provider, which is Vault's too: keys of the transit engine, which wraps, rewraps and destroys inside.

Every key is derived (a context is needed to open), not exportable and without plaintext backup.

A host needs ``read`` on ``keys/<name>`` and ``update`` on what it does: ``encrypt``, ``decrypt``, ``rewrap``, ``keys/
<name>/rotate``, ``keys/<name>/config`` and ``keys/<name>/trim``; one that only rotates needs neither encrypt nor
decrypt. Making the keys needs ``update`` on ``keys/<name>`` and ``config/keys``. What it can't do: reach the backups of
the service. A restored snapshot brings a trimmed version back, so that keys are gone only when the snapshots are.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from keys.errors import KeyIntegrityError, KeysError, KeyStateError, ProviderAnswerError
from keys.providers import KeyToWrap, ProviderKey, WrappedKey, committed
from keys.providers.openbao_answers import Answer
from keys.providers.openbao_calls import Calls, OpenBaoConfig
from keys.providers.openbao_transit import (
    SAFE,
    ciphertexts,
    context,
    described,
    encoded,
    opening,
    plaintext,
    version_of,
    whole_number,
)
from keys.refs import KeyState

__all__ = ["OpenBaoConfig", "OpenBaoProvider"]

BATCH = 150
"""Items in a request: the service counts the strings in it, names included, and takes 1,000 of them by default."""
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


class OpenBaoProvider:
    """Keys in a transit engine. Its ``repr`` shows the address only."""

    kind = "openbao"

    def __init__(
        self,
        config: OpenBaoConfig,
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes no request yet; ``pause`` waits between attempts, ``clock`` counts seconds.

        Raises:
            ProviderDeniedError: the configuration cannot be used.
        """
        self._config = config
        self._call = Calls(config, pause=pause, clock=clock)

    def __repr__(self) -> str:
        return f"OpenBaoProvider({self._config.address!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("providers are not pickled")

    def create(self, names: Collection[str]) -> None:
        """See KeyProvider. After a crash or an error halfway, keys that were made stay: none is ever deleted."""
        with self._call.alone():
            for name in names:
                if self._read(name).status != HTTPStatus.NOT_FOUND:
                    raise KeyStateError(f"the key {name!r} exists already")
            # Otherwise wrapping with a name that is missing would make a key.
            self._granted(self._call("post", self._path("config/keys"), {"disable_upsert": True}))
            for name in names:
                made = self._granted(self._call("post", self._key_path(name), SAFE))
                described(name, made.data if made.status == HTTPStatus.OK else self._read(name).data)
                sys.audit("lake.step", "openbao.key-made")

    def describe(self, name: str) -> ProviderKey:
        """See KeyProvider."""
        found = self._read(name)
        if found.status == HTTPStatus.NOT_FOUND:
            raise KeyStateError(f"there is no key {name!r}")
        return described(name, found.data)

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        """See KeyProvider."""
        self._check_wraps(name, version)
        inputs = [
            {"plaintext": encoded(item.key), "context": context(item.bound_to), "key_version": version}
            for item in items
        ]
        made = ciphertexts(self._batches("encrypt", name, inputs, target=version), version)
        return [committed.pack(item.key, item.bound_to, body) for item, body in zip(items, made, strict=True)]

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider."""
        if not items:
            self.describe(name)
        results = self._batches("decrypt", name, [opening(item) for item in items])
        return [
            committed.checked(plaintext(result), item.blob, item.bound_to)
            for item, result in zip(items, results, strict=True)
        ]

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider. Done inside the service: no key comes out, and no right to decrypt is needed."""
        self._check_wraps(name, version)
        inputs = [{**opening(item), "key_version": version} for item in items]
        made = ciphertexts(self._batches("rewrap", name, inputs, target=version), version)
        return [committed.repack(item.blob, body) for item, body in zip(items, made, strict=True)]

    def new_version(self, name: str, after: int) -> int:
        """See KeyProvider. Exactly one version among processes of this machine; the engine can't compare and swap.

        Machines that do it at the same moment may make one each: the key then has more versions, and none is lost.
        """
        with self._call.alone():
            current = self._usable(name).current
            if after > current:
                raise KeyStateError(f"the key {name!r} has no version {after}")
            if after < current:
                return current

            def made_already() -> Answer | None:
                found = self._read(name)
                return (
                    found
                    if found.status == HTTPStatus.OK and whole_number(found.data, "latest_version") > after
                    else None
                )

            answer = self._call.until(made_already, "post", self._key_path(name, "rotate"))
            sys.audit("lake.step", "openbao.rotated")
            self._granted(answer)
            current = self.describe(name).current
        if current <= after:
            raise ProviderAnswerError(f"the key service made no new version of {name!r}")
        return current

    def trim(self, name: str, below: int) -> None:
        """See KeyProvider. Final for the running service; a snapshot of it still holds what was trimmed."""
        found = self._usable(name)
        if below > found.current:
            raise KeyStateError(f"the current version of the key {name!r} cannot be trimmed")
        if all(state is KeyState.DESTROYED for number, state in found.versions.items() if number < below):
            return
        settings = self._granted(self._read(name)).data
        decrypting = max(below, whole_number(settings, "min_decryption_version"))
        encrypting = max(decrypting, whole_number(settings, "min_encryption_version"))
        minimums = {"min_decryption_version": decrypting, "min_encryption_version": encrypting}
        self._granted(self._call("post", self._key_path(name, "config"), minimums))
        sys.audit("lake.step", "openbao.minimum-raised")
        trimmed = self._call("post", self._key_path(name, "trim"), {"min_available_version": below})
        sys.audit("lake.step", "openbao.trimmed")
        # Another host may have trimmed more meanwhile, which is refused here: what is there now decides.
        left = self.describe(name).versions
        if any(state is not KeyState.DESTROYED for number, state in left.items() if number < below):
            self._granted(trimmed)
            raise ProviderAnswerError(f"the key service did not destroy versions of {name!r}")

    def close(self) -> None:
        """Give connections back."""
        self._call.close()

    def _path(self, rest: str) -> str:
        return f"{self._config.mount.strip('/')}/{rest}"

    def _key_path(self, name: str, action: str = "") -> str:
        return self._path(f"keys/{self._full(name)}" + (f"/{action}" if action else ""))

    def _full(self, name: str) -> str:
        full = self._config.prefix + name
        if not _NAME.fullmatch(full):
            raise KeyStateError(f"there can be no key {name!r}")
        return full

    def _read(self, name: str) -> Answer:
        answer = self._call("get", self._key_path(name))
        return answer if answer.status == HTTPStatus.NOT_FOUND else self._granted(answer)

    @staticmethod
    def _granted(answer: Answer) -> Answer:
        """An answer to a request that has no reason to be wrong."""
        if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
            raise ProviderAnswerError("the key service refused for an unforeseen reason")
        return answer

    def _usable(self, name: str) -> ProviderKey:
        found = self.describe(name)
        if not found.versions[found.current].wraps:
            raise KeyStateError(f"the key {name!r} is {found.versions[found.current].value}")
        return found

    def _check_wraps(self, name: str, version: int) -> None:
        """Before each wrap, also so that a server that was not told to refuse missing keys gets no such request."""
        state = self.describe(name).versions.get(version)
        if state is None:
            raise KeyStateError(f"there is no version {version} of the key {name!r}")
        if not state.wraps:
            raise KeyStateError(f"version {version} of the key {name!r} is {state.value} and does not wrap")

    def _batches(
        self, action: str, name: str, inputs: list[dict[str, Any]], target: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """The result for each input, in order."""
        path = self._path(f"{action}/{self._full(name)}")
        for start in range(0, len(inputs), BATCH):
            batch = inputs[start : start + BATCH]
            answer = self._call("post", path, {"batch_input": batch})
            results = answer.data.get("batch_results") if answer.status == HTTPStatus.OK else None
            if not isinstance(results, list) or any(isinstance(each, dict) and each.get("error") for each in results):
                raise self._reason(name, batch, target, answer)
            if len(results) != len(batch) or not all(isinstance(each, dict) for each in results):
                raise ProviderAnswerError("the key service answered more or less than it was asked")
            yield from results

    def _reason(self, name: str, batch: list[dict[str, Any]], target: int | None, answer: Answer) -> KeysError:
        """Why a batch was refused: told from the key's states, since the texts of servers differ and may hold keys."""
        if target is not None:
            self._check_wraps(name, target)
        found = self.describe(name)
        opened = {version_of(each["ciphertext"]) for each in batch if "ciphertext" in each}
        for version in sorted(opened):
            state = found.versions.get(version)
            if state is None:
                return KeyStateError(f"there is no version {version} of the key {name!r}")
            if not state.unwraps:
                return KeyStateError(f"version {version} of the key {name!r} is {state.value} and does not unwrap")
        data = answer.fields.get("data")
        if not opened or not isinstance(data, dict) or not isinstance(data.get("batch_results"), list):
            return ProviderAnswerError(f"the key service refused a batch for {name!r} for an unforeseen reason")
        return KeyIntegrityError("a wrapped key does not open: other key, other context, or changed")
