"""The OpenBao provider when the service answers what it may not: nothing of it is used."""

from __future__ import annotations

import copy
import json

import pytest

from keys.errors import KeyIntegrityError, ProviderAnswerError
from keys.refs import KeyState
from tests.keys.providers.conformance import NAME, silent_about, to_wrap, wrapped
from tests.keys.providers.fault_proxy import Fault

ERROR = json.dumps({"errors": ["some internal text"]}).encode()


@pytest.fixture
def provider(openbao_behind_proxy):
    """A provider behind the proxy, with two keys in version 1."""
    return openbao_behind_proxy


@pytest.fixture
def made(provider):
    """Three keys, wrapped before anything went wrong."""
    return wrapped(provider, 3)


def each(change):
    """Changes the list of results of an answer."""

    def changed(answer):
        answer = copy.deepcopy(answer)
        answer["data"]["batch_results"] = change(answer["data"]["batch_results"])
        return answer

    return changed


ZERO = "A" * 43 + "="


WRONG_RESULTS = {
    "swapped": lambda results: results[::-1],
    "repeated": lambda results: [results[0]] * len(results),
    "one too few": lambda results: results[:-1],
    "one too many": lambda results: [*results, results[0]],
    "none": lambda results: [],
    "empty": lambda results: [{} for _ in results],
    "numbers": lambda results: [7 for _ in results],
    "nothing in them": lambda results: [dict.fromkeys(result) for result in results],
}


WRONG_KEYS = {
    **WRONG_RESULTS,
    "zero keys": lambda results: [{"plaintext": ZERO} for _ in results],
    "short keys": lambda results: [{"plaintext": result["plaintext"][:40]} for result in results],
    "not base64": lambda results: [{"plaintext": "!" + result["plaintext"][1:]} for result in results],
}


def with_ciphertext(change):
    """Changes the ciphertext of every result."""
    return lambda results: [{"ciphertext": change(result["ciphertext"])} for result in results]


WRONG_WRAPS = {
    **{name: change for name, change in WRONG_RESULTS.items() if name != "swapped"},
    "another version": with_ciphertext(lambda text: "vault:v9:" + text.rpartition(":")[2]),
    "no version": with_ciphertext(lambda text: text.rpartition(":")[2]),
    "no ciphertext": with_ciphertext(lambda text: text.rpartition(":")[0] + ":"),
    "not base64": with_ciphertext(lambda text: text + "!"),
    "padding only": with_ciphertext(lambda text: "vault:v1:A="),
    "the text of two": with_ciphertext(lambda text: f"{text},{text}"),
}


@pytest.mark.parametrize("wrong", WRONG_KEYS)
def test_a_wrong_key_is_refused(provider, fault_proxy, made, caplog, wrong):
    """Whatever the service answers to an unwrap, only the key that was wrapped is taken."""
    fault_proxy.faults = [Fault("/decrypt/", change=each(WRONG_KEYS[wrong]))]
    with pytest.raises(ProviderAnswerError), silent_about(made.keys, caplog):
        provider.unwrap(NAME, made.items)


@pytest.mark.parametrize("wrong", WRONG_WRAPS)
def test_a_wrong_wrap_is_refused(provider, fault_proxy, caplog, wrong):
    """A blob that could not be opened later, or that is of another version, is not handed out."""
    keys = to_wrap(3)
    fault_proxy.faults = [Fault("/encrypt/", change=each(WRONG_WRAPS[wrong]))]
    with pytest.raises(ProviderAnswerError), silent_about([key.key for key in keys], caplog):
        provider.wrap(NAME, 1, keys)


@pytest.mark.parametrize("wrong", WRONG_WRAPS)
def test_a_wrong_rewrap_is_refused(provider, fault_proxy, made, caplog, wrong):
    """The same when the key never leaves the service."""
    provider.new_version(NAME, 1)
    fault_proxy.faults = [Fault("/rewrap/", change=each(WRONG_WRAPS[wrong]))]
    with pytest.raises(ProviderAnswerError), silent_about(made.keys, caplog):
        provider.rewrap(NAME, 2, made.items)


def test_an_item_with_an_error_is_one_even_with_status_200(provider, fault_proxy, made, caplog):
    """The service reports failed rewraps that way: the batch fails, and its other results are not used."""
    fault_proxy.faults = [
        Fault("/decrypt/", change=each(lambda results: [*results[:-1], {"error": results[0]["plaintext"]}]))
    ]
    with pytest.raises(KeyIntegrityError), silent_about(made.keys, caplog):
        provider.unwrap(NAME, made.items)


@pytest.mark.parametrize(
    "change",
    [
        {"latest_version": None},
        {"latest_version": "1"},
        {"latest_version": True},
        {"latest_version": 0},
        {"latest_version": -1},
        {"latest_version": 10**12},
        {"latest_version": 2},
        {"min_available_version": None},
        {"min_decryption_version": 2},
        {"keys": None},
        {"keys": {}},
    ],
    ids=str,
)
def test_a_description_that_cannot_be_is_refused(provider, fault_proxy, change):
    """Nothing is wrapped by an answer about the key that contradicts itself."""

    def changed(answer):
        return {**answer, "data": {**answer["data"], **change}}

    fault_proxy.faults = [Fault(f"-{NAME}", change=changed)]
    for call in (lambda: provider.describe(NAME), lambda: provider.wrap(NAME, 1, to_wrap(1))):
        with pytest.raises(ProviderAnswerError):
            call()
    assert fault_proxy.count("/encrypt/") == 0


def test_a_trim_that_was_not_done_is_not_believed(provider, fault_proxy, made):
    """The service says yes and destroys nothing."""
    provider.new_version(NAME, 1)
    fault_proxy.faults = [Fault(f"{NAME}/trim", reply=(200, b'{"data": {"min_available_version": 2}}'))]
    with pytest.raises(ProviderAnswerError, match="did not destroy"):
        provider.trim(NAME, 2)
    fault_proxy.faults = [Fault(f"{NAME}/trim", reply=(400, ERROR))]
    with pytest.raises(ProviderAnswerError, match="unforeseen"):
        provider.trim(NAME, 2)
    fault_proxy.faults = []
    provider.trim(NAME, 2)
    assert provider.describe(NAME).versions[1] is KeyState.DESTROYED


def test_a_rotation_that_was_not_done_is_not_believed(provider, fault_proxy):
    """The service says yes and makes no version."""
    fault_proxy.faults = [Fault("/rotate", reply=(200, b'{"data": {"latest_version": 2}}'))]
    with pytest.raises(ProviderAnswerError, match="no new version"):
        provider.new_version(NAME, 1)
