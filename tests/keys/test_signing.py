"""Signed notes: what is opened was signed by a known key, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import KeyIntegrityError
from keys.signing import NoteSigner, NoteVerifier

SIGNER = NoteSigner("lake.example/audit", bytes(range(32)))
OTHER = NoteSigner("lake.example/other", bytes(32))
VERIFIER = NoteVerifier([SIGNER.verifier_key])
TEXT = "lake.example/audit\n7\nsome words\n"
NOTE = SIGNER.sign(TEXT)
SIGNATURE = NOTE[len(TEXT) + 1 :]


def test_the_published_example_of_the_specification_opens():
    """The example note of C2SP signed-note opens with its verifier key."""
    key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    assert NoteVerifier([key]).open(f"{text}\n{line}\n") == text


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=50))
def test_what_was_signed_opens(text):
    """Any text that ends in a newline opens as it was signed."""
    assert VERIFIER.open(SIGNER.sign(text + "\n")) == text + "\n"


def test_a_text_without_a_final_newline_is_not_signed():
    """A note's text ends in a newline."""
    with pytest.raises(KeyIntegrityError):
        SIGNER.sign("words")


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\n"])
def test_names_that_would_confuse_a_note_are_refused(name):
    """A key's name has neither white space nor a plus sign."""
    with pytest.raises(KeyIntegrityError):
        NoteSigner(name, bytes(32))


@pytest.mark.parametrize("position", range(len(NOTE)))
def test_every_character_of_a_note_counts(position):
    """A note with any one character replaced does not open as another text."""
    for new in ("A", "\n", "é", "="):
        changed = NOTE[:position] + new + NOTE[position + 1 :]
        if changed != NOTE:
            with pytest.raises(KeyIntegrityError):
                VERIFIER.open(changed)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE + SIGNATURE,
        f"{TEXT}\n- {SIGNATURE[2:]}",
        f"{TEXT}\n— {SIGNER.name}\n",
        f"{TEXT}\n— {SIGNER.name} {base64.b64encode(b'abcd').decode()}\n",
        f"{TEXT}\n— {SIGNER.name} ünïcode\n",
        OTHER.sign(TEXT),
        "x" * 1_000_001 + NOTE,
    ],
)
def test_malformed_and_foreign_notes_are_refused(note):
    """A note that is cut, repeated, too long or of an unknown key is refused with the typed error."""
    with pytest.raises(KeyIntegrityError):
        VERIFIER.open(note)


def test_other_signatures_are_ignored_but_a_bad_one_of_a_known_key_is_not():
    """Unknown cosigners are no obstacle; a known key's wrong signature is, also beside a good one."""
    foreign = OTHER.sign(TEXT)[len(TEXT) + 1 :]
    assert VERIFIER.open(NOTE + foreign) == TEXT
    bad = OTHER.sign("other words\n")[len("other words\n") + 1 :]
    with pytest.raises(KeyIntegrityError):
        NoteVerifier([SIGNER.verifier_key, OTHER.verifier_key]).open(NOTE + bad)


def test_the_same_name_with_another_key_is_not_enough():
    """A forger who takes the name cannot take the key."""
    with pytest.raises(KeyIntegrityError):
        VERIFIER.open(NoteSigner(SIGNER.name, bytes(32)).sign(TEXT))


@pytest.mark.parametrize(
    "key", ["", "a+b", "a+b+c", "name+00000000+!!", SIGNER.verifier_key[:-4], "x" + OTHER.verifier_key]
)
def test_malformed_verifier_keys_are_refused(key):
    """A verifier key must be whole, and its id must fit its name."""
    with pytest.raises(KeyIntegrityError):
        NoteVerifier([key])


def test_a_signer_does_not_show_its_key(leaks):
    """The representation of a signer has its name only."""
    assert repr(SIGNER) == "NoteSigner('lake.example/audit')"
    assert not leaks(repr(SIGNER) + str(vars(SIGNER)), bytes(range(32)))
