"""A provider whose calls are seen on their way in and out; and one with a service behind it that may answer wrongly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from keys.providers import KeyProvider, KeyToWrap, ProviderKey, WrappedKey, committed

Before = Callable[[str], None]
After = Callable[[str, Any], Any]


class Watched:
    """Passes every call on. ``before`` is told its name and may raise; ``after`` may change the answer."""

    def __init__(
        self, inner: KeyProvider, before: Before = lambda _: None, after: After = lambda _, answer: answer
    ) -> None:
        self.inner = inner
        self.kind = inner.kind
        self.before = before
        self.after = after

    def _seen(self, name: str, call: Callable[[], Any]) -> Any:
        self.before(name)
        return self.after(name, call())

    def create(self, names: Collection[str]) -> None:
        self._seen("create", lambda: self.inner.create(names))

    def describe(self, name: str) -> ProviderKey:
        return self._seen("describe", lambda: self.inner.describe(name))

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        return self._seen("wrap", lambda: self.inner.wrap(name, version, items))

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        return self._seen("unwrap", lambda: self.inner.unwrap(name, items))

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        return self._seen("rewrap", lambda: self.inner.rewrap(name, version, items))

    def new_version(self, name: str, after: int) -> int:
        return self._seen("new_version", lambda: self.inner.new_version(name, after))

    def trim(self, name: str, below: int) -> None:
        self._seen("trim", lambda: self.inner.trim(name, below))

    def close(self) -> None:
        self.inner.close()


class Committed(Watched):
    """An adapter of a key service: every blob commits to its key (keys.providers.committed)."""

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        answers = super().wrap(name, version, items)
        return [committed.pack(item.key, item.bound_to, blob) for item, blob in zip(items, answers, strict=True)]

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        answers = super().unwrap(name, [_inner(item) for item in items])
        return [committed.checked(key, item.blob, item.bound_to) for item, key in zip(items, answers, strict=True)]

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        answers = super().rewrap(name, version, [_inner(item) for item in items])
        return [committed.repack(item.blob, blob) for item, blob in zip(items, answers, strict=True)]


def _inner(item: WrappedKey) -> WrappedKey:
    return WrappedKey(item.version, committed.ciphertext_of(item.blob), item.bound_to)
