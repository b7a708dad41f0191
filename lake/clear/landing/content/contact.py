"""Ways to reach a person, where one lives, and which machine one uses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from lake.clear.landing.content import checksums, words
from lake.clear.landing.content.detector import Bounds, Detector, Gate, compiled, digits_of, holds, keyed, number

_HOSTED = ("git@github.com", "git@gitlab.com", "git@bitbucket.org", "git@ssh.dev.azure.com")
_LETTER = r"A-Za-z\x{AA}-\x{10FFFF}"
_LARGE = r"A-ZÀ-ÖØ-ÞĀ-ŽΆ-ΫЀ-Я"
_WORD = rf"[{_LARGE}][{_LETTER}'.\-]{{1,24}}"
_NAME = rf"(?:(?:van|von|de|del|der|den|di|da|dos|la|le|al|el|bin|ibn|o'|d') ?)?{_WORD}(?: (?:van|von|de|del|der|den|di|da|dos|la|le|al|el|bin|ibn|{_WORD})){{0,3}}"
_STREETS = words.any_of(
    "street", "st", "avenue", "ave", "road", "rd", "boulevard", "blvd", "lane", "ln", "drive", "dr", "court", "ct",
    "square", "sq", "terrace", "crescent", "highway", "hwy", "parkway", "pkwy", "circle", "cir", "way", "close", "grove",
    "gardens", "mews", "trail", "loop", "alley", "expressway", "turnpike", "quay", "esplanade",
)  # fmt: skip
_STREETS_BEFORE = words.any_of(
    "rue", "avenue", "boulevard", "impasse", "chemin", "allée", "quai", "calle", "avenida", "paseo", "plaza", "carrera",
    "via", "viale", "corso", "piazza", "vicolo", "rua", "travessa", "alameda", "ul\\.", "ulica", "aleja",
)  # fmt: skip
_STREETS_WITHIN = (
    r"(?:straße|strasse|str\.|gasse|weg|allee|platz|damm|ufer|ring|steig|straat|laan|plein|gatan|vägen|veien|gata|vej)"
)
_PLACE = r"(?:\blat(?:itude)?|\bgps|coord[a-z]{0,8}|location|geo|[/@=])"
DEVICE = r"(?:\bimei|\bmeid|serial (?:no|num|number|#))"
_TITLES = r"(?:Mrs?|Ms|Miss|Mx|Dr|Prof|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Señora?|Sra?|Sig|Signora?|Dhr|Mevr)"
_NAMED = words.any_of(
    "my name is", "i am called", "mein name ist", "ich heiße", "je m'appelle", "me llamo", "mi nombre es",
    "mi chiamo", r"patient\s?[:=]", "patient name", "customer name", "employee name", "contact name", "cardholder", "account holder", "full name", "first name", "last name", "surname",
    "maiden name", "signed by", "sincerely,", "kind regards,", "best regards,", "nachname", "vorname",
)  # fmt: skip
HINT = rf"(?:\b{_STREETS}\b|\b{_STREETS_BEFORE} |{_STREETS_WITHIN} ?\d|\bp\.? ?o\.? ?box|\bpostfach|\b{_TITLES}\b|{_NAMED})"
"""What a text has in which a detector of addresses and names finds something."""
_DATE = (
    rf"(?:\d{{1,4}}[./\-]\s?\d{{1,2}}[./\-]\s?\d{{1,4}}|\d{{1,2}}(?:st|nd|rd|th|\.)?[ \-](?:of )?{words.MONTH}\.?,?[ \-]\d{{2,4}}"
    rf"|\d{{8}}\b|\d{{4}}年\d{{1,2}}月\d{{1,2}}日)"
)
_DATE_BY_NAME = rf"\b{words.MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}\b"


_PART = compiled(
    r"[ \t]*(?:,|\n|,[ \t]*\n)\s{0,12}(?:(?i:apt|suite|unit|flat|floor|box|po box|p\.o\. box|building|bldg|room|#)\.? ?[\w\-]{1,8}"
    r"|(?:[A-Z]{1,2}[- ]?)?\d{3,6}(?:[- ]?[A-Z0-9]{2,4})?(?: \p{Lu}[^\s,;:\d]+){0,3}"
    r"|\p{Lu}[^\s,;:\d]+(?: \p{Lu}[^\s,;:\d]*){0,3}(?:,? ?[A-Z]{0,2} ?\d{3,6}(?:[- ]?[A-Z0-9]{2,4})?)?)"
    r"(?:\s*[,\n]|\s*[.;!?](?:\s|\z)|\s*\z)"
)
_MOST_PARTS = 6


def _whole(text: bytes, start: int, end: int) -> Iterator[Bounds]:
    """A street with what follows it: flat, town, code and country."""
    if _YEAR.match(text, start) is not None:
        return
    for _ in range(_MOST_PARTS):
        part = _PART.match(text, end)
        if part is None:
            break
        end = start + len(text[start : part.end()].rstrip(b" \t\n\r,.;!?"))
    yield start, end


def _numbered(text: bytes, start: int, end: int) -> Iterator[Bounds]:
    """Streets whose kind comes first, where a number is with them."""
    if any(48 <= char <= 57 for char in text[start:end]):
        yield from _whole(text, start, end)


_OTHER_ADDRESS = compiled(
    r"(?i)(?:ip|mac|mail|e-mail|web|memory|url|bitcoin|wallet|hardware|network|host|base|start)[ \-]?$"
)


_LABEL = compiled(rf"(?i){words.HOME}")
_HOUSE = compiled(r"\b\d.*\pL{3}|\pL{3}.*\b\d")


def _home(text: bytes, start: int, end: int) -> Iterator[Bounds]:
    """A line after the word address, if it is where somebody lives and not where a machine is."""
    said = text.rfind(b"\n", 0, start) + 1
    label = _LABEL.search(text[said:start])
    if label is None or _OTHER_ADDRESS.search(text[said : said + label.start()]) is not None:
        return
    line = text[start:end]
    if _HOUSE.search(line) is not None and b"@" not in line and b"://" not in line:
        yield from _whole(text, start, start + len(line.rstrip(b" \t,.;")))


def _email(value: str) -> bool:
    local, _, host = value.rpartition("@")
    return (
        len(local) <= 64
        and len(host) <= 253
        and len(host.rpartition(".")[2]) > 1
        and not value.lower().startswith(_HOSTED)
    )


def _nanp(value: str) -> bool:
    """An area and an exchange of the North American plan, or marks that only a phone number has."""
    digits = digits_of(value)[-10:] if not value.lower().rstrip("0123456789 ").endswith(("x", "ext", "ext.")) else ""
    if not digits:
        digits = digits_of(value)[:10]
    return digits[0] in "23456789" and digits[3] in "23456789" and not checksums.monotone(digits)


def _ipv4(value: str) -> bool:
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or value.startswith("255."))


_ZIP = compiled(r"\d{5}-\d{4}")
_YEAR = compiled(r"(?:19|20)\d\d,")
_VERSION = compiled(r"(?i)(?:\bv|\bver|version|release|build|assembly|product|driver)[ :=\"']{0,3}$|[<>=~!]=\s?$")


def _addresses(text: bytes, start: int, end: int) -> Iterator[Bounds]:
    """Four numbers are a version where a word says so."""
    if _ipv4(text[start:end].decode()) and _VERSION.search(text[max(0, start - 16) : start]) is None:
        yield start, end


def _ipv6(value: str) -> bool:
    try:
        address = ipaddress.IPv6Address(value.partition("%")[0])
    except ValueError:
        return False
    groups = [group for group in value.split(":") if group]
    told = len(groups) >= 3 and any(char.isdigit() for char in value)
    return told and not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _mac(value: str) -> bool:
    return len(set(value.lower()) - set(":-.")) > 1


def _place(value: str) -> bool:
    latitude, _, longitude = value.partition(",")
    return abs(float(latitude)) <= 90 and abs(float(longitude)) <= 180


DETECTORS = (
    Detector(
        "EMAIL",
        Gate.SHAPE,
        rf"[^\x00-\x20\x22-\x24&-*,/:-@\[-^`{{-\x7F]+@(?:[{_LETTER}0-9\-]+\.)+(?:xn--[a-z0-9\-]+|[{_LETTER}]+)",
        holds(_email),
        ("mail jane.doe+x@example.co.uk!", "JÜRGEN@müller.de"),
    ),
    Detector(
        "EMAIL",
        Gate.SHAPE,
        r"(?i)[\w.+\-]+ ?[\[({] ?at ?[\])}] ?[\w\-]+(?: ?[\[({] ?dot ?[\])}] ?|\.)[a-z]{2,24}\b",
        None,
        ("jane.doe [at] example [dot] com", "jane(at)example.com"),
    ),
    Detector(
        "PHONE",
        Gate.SHAPE,
        r"(?:\+|\b00)[1-9]\d{0,3}(?:[ \-./]{0,2}\(0?\d{0,5}\))?(?:[ \-./]{0,2}\d){5,13}(?: ?(?:x|ext\.?) ?\d{1,6})?\b",
        holds(lambda value: 8 <= len(digits_of(value)) <= 20),
        ("+41 (0)62 585 51 90", "0049 30 901820", "+1-202-555-0143"),
    ),
    Detector(
        "PHONE",
        Gate.SHAPE,
        r"(?i)(?:^|[^\d.\-/+(])((?:1[ .\-]?)?(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,6})?)(?:$|[^\d\-./]|[\-./](?:$|\D))",
        holds(_nanp),
        ("(202) 555-0143", "call 202.555.0143 x12"),
    ),
    Detector(
        "PHONE",
        Gate.SHAPE,
        r"(?:^|[^\d.\-/:+])(0[1-9]\d{0,3}[ \-/]\d{2,4}(?:[ \-]?\d{2,4}){1,3}|\(0?\d{1,5}\)[ \-]?\d{2,5}(?:[ \-]\d{2,5}){1,2}|0[1-9](?:[ .]\d{2}){4})(?:$|[^\d\-./:]|[\-./:](?:$|\D))",
        holds(lambda value: 8 <= len(digits_of(value)) <= 13 and _ZIP.fullmatch(value.encode()) is None),
        ("020 7946 0958", "(020) 7946-0958", "01 42 68 53 00"),
    ),
    keyed(
        "PHONE",
        words.PHONE,
        number(7, 15),
        "call me at 5550143",
        "Tel.: 030/901820",
        value=r"\+?\(?\d(?:[ \-./()]{0,2}\d){5,14}\b",
        gap=24,
    ),
    Detector("IP_ADDRESS", Gate.SHAPE, r"\b\d{1,3}(?:\.\d{1,3}){3}\b", _addresses, ("from 8.8.4.4:53",)),
    Detector(
        "IP_ADDRESS",
        Gate.SHAPE,
        r"(?i)\b[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:%\w{1,15})?",
        holds(_ipv6),
        ("2001:db8::8a2e:370:7334",),
    ),
    Detector(
        "DEVICE_ID",
        Gate.SHAPE,
        r"(?i)\b(?:[0-9a-f]{2}(?::[0-9a-f]{2}){5}|[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})\b",
        holds(_mac),
        ("00:1B:44:11:3A:B7",),
    ),
    keyed("DEVICE_ID", DEVICE, number(6), "IMEI 490154203237518"),
    keyed(
        "BIRTH_DATE",
        words.BIRTH,
        holds(lambda value: len(digits_of(value)) >= 5),
        "born on 12.03.1984",
        "DOB: 1984-03-12",
        "née le 3 mars 1984",
        value=_DATE,
        gap=30,
    ),
    Detector(
        "BIRTH_DATE",
        Gate.NUMBER,
        rf"(?i){words.BIRTH}[^\d\n\x00]{{0,30}}?({_DATE_BY_NAME})",
        None,
        ("date of birth March 12, 1984",),
    ),
    Detector(
        "LOCATION",
        Gate.SHAPE,
        rf"(?i){_PLACE}[^\d\n\x00\-]{{0,20}}?(-?\d{{1,2}}\.\d{{4,10}}, ?-?\d{{1,3}}\.\d{{4,10}})\b",
        holds(_place),
        ("GPS 52.520008, 13.404954",),
    ),
    Detector(
        "ADDRESS",
        Gate.WORD,
        rf"\b\d{{1,5}}[A-Za-z]?,? (?:[NSEW]\.? )?(?:[{_LARGE}][{_LETTER}'.\-]{{0,20}} ){{1,4}}(?i:{_STREETS})\b\.?(?:,? (?i:apt|suite|unit|flat|#)\.? ?[\w\-]{{1,6}})?(?:,? [{_LARGE}][{_LETTER}.\-]{{1,20}}(?: [{_LARGE}][{_LETTER}.\-]{{1,20}}){{0,2}},? (?:[A-Z]{{2}}),? \d{{5}}(?:-\d{{4}})?)?",
        _whole,
        ("17 Old Mill Road", "at 1600 Pennsylvania Avenue NW, Washington, DC 20500"),
    ),
    Detector(
        "ADDRESS",
        Gate.WORD,
        rf"(?:\b\d{{1,4}}(?: ?(?:bis|ter))?,? )?\b(?i:{_STREETS_BEFORE}) (?:(?:de|del|du|des|la|las|los|les|di|da|do|dos|dei|delle|d')[ ']?){{0,2}}[{_LARGE}][{_LETTER}'.\-]{{1,24}}(?: (?:de |la |del )?[{_LARGE}][{_LETTER}'.\-]{{1,24}}){{0,3}},? ?\d{{0,5}}(?:,? \d{{4,5}} [{_LARGE}][{_LETTER}]{{1,20}})?",
        _numbered,
        ("33 avenue de Provence", "Via Roma 12, 00184 Roma"),
    ),
    Detector(
        "ADDRESS",
        Gate.WORD,
        rf"[{_LARGE}][{_LETTER}.\-]{{0,24}}(?: [{_LARGE}][{_LETTER}.\-]{{0,24}})?[ \-]?(?i:{_STREETS_WITHIN}) ?\d{{1,4}}(?: ?[a-z])?\b(?:,? ?\d{{4,5}} [{_LARGE}][{_LETTER}]{{1,24}})?",
        _whole,
        ("Hauptstraße 12a, 10115 Berlin", "Kerkstraat 7"),
    ),
    keyed(
        "ADDRESS",
        words.POSTCODE,
        holds(lambda value: any(map(str.isdigit, value))),
        "zip code is 12345",
        "PLZ: 10115",
        "postcode SW1A 1AA",
        value=r"\b(?:\d{3,6}(?:[- ]\d{3,4})?|[A-Z]\d[A-Z] ?\d[A-Z]\d|[A-Z]{1,2}\d{1,2}[A-Z]? ?\d[A-Z]{2}|\d{4} ?[A-Z]{2})\b",
        gap=12,
    ),
    Detector(
        "ADDRESS",
        Gate.NUMBER,
        rf"(?i){words.HOME}(?: is| ist)?\s?[:=]\s{{0,12}}([^\n\x00]{{5,100}})",
        _home,
        ("Address: 83393 Somewhere 33",),
    ),
    Detector("ADDRESS", Gate.WORD, r"(?i)\bp\.? ?o\.? ?box \d{1,8}\b|\bpostfach \d{2,8}\b", None, ("P.O. Box 1234",)),
    Detector(
        "PERSON",
        Gate.WORD,
        rf"\b{_TITLES}\b\.? ({_NAME})",
        None,
        ("ask Mrs. van Dyke", "Herr Dr. Klaus Weber", "Dr. Jane Roe"),
    ),
    Detector(
        "PERSON",
        Gate.WORD,
        rf"(?i:{_NAMED})(?i: is| ist)?\s{{0,3}}[:=]?\s{{0,2}}[\"']?({_NAME})",
        None,
        ("my name is Jane Roe", "Full name: Jane Roe"),
    ),
)
