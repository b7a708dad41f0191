"""Texts made from a seed: our own sentences with made-up values, so that the score can be taken anywhere."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

from bench.scorecard.sets import Labelled, LabelledSet
from lake.clear.landing.content import checksums

SEED = 20_261_127
EACH = 40
Make = Callable[[random.Random], str]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def card(rng: random.Random) -> str:
    """A number that a scheme could have given out, written with or without gaps."""
    start, length = rng.choice([("4", 16), ("5221", 16), ("3714", 15), ("6011", 16), ("3528", 16), ("36", 14)])
    body = start + _digits(rng, length - len(start) - 1)
    number = body + next(digit for digit in string.digits if checksums.luhn(body + digit))
    gap = rng.choice(["", " ", "-"])
    return gap.join(number[at : at + 4] for at in range(0, length, 4))


def iban(rng: random.Random) -> str:
    """A German or Dutch account with its check digits."""
    country, body = rng.choice([("DE", _digits(rng, 18)), ("NL", "ABNA" + _digits(rng, 10))])
    number = next(
        f"{country}{check:02}{body}" for check in range(2, 99) if checksums.mod97(f"{country}{check:02}{body}")
    )
    return number if rng.random() < 0.5 else " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def ssn(rng: random.Random) -> str:
    """A US number that could have been issued."""
    return f"{rng.randint(1, 665):03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def email(rng: random.Random) -> str:
    """An address at an example domain."""
    return f"{rng.choice(['jo', 'a.b', 'kim_22', 'x-y'])}{rng.randint(1, 99)}@{rng.choice(['example.com', 'mail.example.org'])}"


def phone(rng: random.Random) -> str:
    """International, or as in North America."""
    if rng.random() < 0.5:
        return f"+{rng.choice(['44', '49', '33', '1'])} {_digits(rng, 3)} {_digits(rng, 3)} {_digits(rng, 4)}"
    return f"({rng.randint(201, 989)}) {rng.randint(201, 989)}-{_digits(rng, 4)}"


def password(rng: random.Random) -> str:
    """Letters, digits and a mark."""
    return "".join(rng.choice(string.ascii_letters) for _ in range(6)) + _digits(rng, 2) + rng.choice("!#$%&*?")


def token(rng: random.Random) -> str:
    """A personal access token of a code host, by its shape."""
    return "ghp_" + "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(36))


def passport(rng: random.Random) -> str:
    """A letter and eight digits."""
    return rng.choice("CXFGHJK") + _digits(rng, 8)


def record(rng: random.Random) -> str:
    """A number of a hospital's file."""
    return _digits(rng, 8)


def ip(rng: random.Random) -> str:
    """A public address."""
    return f"{rng.randint(11, 99)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


KINDS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "CARD": (card, ("please charge {} today", "{}", "old card {} expired, sorry", "file:///tmp/scan-{}.pdf", "card={}&cvv=")),
    "IBAN": (iban, ("transfer it to {} please", "IBAN: {}", "rent goes from {} monthly")),
    "SSN": (ssn, ("her number is {} I think", "SSN {}", "form W-2 for {}")),
    "EMAIL": (email, ("write to {} about it", "cc {}; done", "https://example.com/u?m={}&x=1", "<{}>")),
    "PHONE": (phone, ("call {} after six", "mobile {}", "{} is my new number")),
    "PASSWORD": (password, ("password: {}", "the wifi password is {}", "login with password '{}' works", "--password {} --host x")),
    "SECRET": (token, ("export GITHUB_TOKEN={}", "the token {} leaked", "{}")),
    "PASSPORT": (passport, ("passport number {} for the visa", "Reisepass {}")),
    "MEDICAL_ID": (record, ("MRN: {}", "patient number {} is waiting")),
    "IP_ADDRESS": (ip, ("connection from {} refused", "ssh root@{}")),
}  # fmt: skip


def made() -> LabelledSet:
    """``EACH`` texts of every kind."""
    rng = random.Random(SEED)
    texts = []
    for label, (make, sentences) in KINDS.items():
        for _ in range(EACH):
            before, _, after = rng.choice(sentences).partition("{}")
            value = make(rng)
            texts.append(Labelled(before + value + after, ((len(before), len(before) + len(value), label),)))
    return LabelledSet("made", f"made by bench/scorecard/made.py, seed {SEED}", tuple(texts))
