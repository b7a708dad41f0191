"""What a text is about, where it says so of a person: nothing is masked, the sensitivity rises."""

from __future__ import annotations

from lake.clear.landing.content.detector import Detector, Gate
from lake.clear.landing.content.words import any_of

_SELF = r"\b(?:i|he|she|they|who|patient|my (?:wife|husband|son|daughter|mother|father|partner)|employee)"

HEALTH = any_of(
    r"diagnosed with", r"tested positive for", r"\bhiv[- ]positive", r"\bmy (?:doctor|therapist|psychiatrist|medication|illness|depression|surgery|pregnancy)",
    r"\bundergoing (?:chemotherapy|dialysis|treatment|surgery)", r"\bsuffers? from", r"\bprescribed (?:me|him|her|them)?\b",
    r"\b(?:she|i|wife) (?:is|am|was|'m) pregnant", r"krankgeschrieben", r"diagnostiziert mit", r"meine (?:krankheit|depression|therapie)",
    r"atteinte? d'un", r"diagnosticad[oa] con", r"\bsick leave (?:for|because)",
)  # fmt: skip
BELIEF = any_of(
    rf"{_SELF} (?:am|is|are|'m|was) (?:an? )?(?:practi[cs]ing )?(?:muslim|christian|catholic|protestant|jewish|jew|hindu|buddhist|sikh|atheist|mormon)\b",
    r"\breligion ?[:=] ?\pL", r"konfession ?[:=] ?\pL", r"\bconverted to (?:islam|judaism|christianity|catholicism|buddhism)",
)  # fmt: skip
UNION = any_of(
    r"\b(?:union|gewerkschafts?) ?-?(?:member(?:ship)?|mitglied(?:schaft)?|rep(?:resentative)?|dues)\b", r"\bmember of (?:the|a|our) (?:trade |labou?r )?union",
    r"shop steward", r"\bjoin(?:ed|ing)? (?:the|a|our) union", r"mitglied der gewerkschaft", r"membre du syndicat", r"afiliad[oa] al sindicato",
)  # fmt: skip
SEXUALITY = any_of(
    rf"{_SELF} (?:am|is|are|'m|was) (?:an? |openly )?(?:gay|lesbian|bisexual|transgender|queer)\b", r"sexual orientation ?[:=] ?\pL",
)  # fmt: skip

HINT = any_of(HEALTH, BELIEF, UNION, SEXUALITY)
"""What a text has in which one of these finds something."""

DETECTORS = (
    Detector("ABOUT_HEALTH", Gate.WORD, rf"(?i){HEALTH}", None, ("she was diagnosed with lupus",)),
    Detector("ABOUT_BELIEF", Gate.WORD, rf"(?i){BELIEF}", None, ("Religion: none", "he is a Catholic")),
    Detector("ABOUT_UNION", Gate.WORD, rf"(?i){UNION}", None, ("I joined the union",)),
    Detector("ABOUT_SEXUALITY", Gate.WORD, rf"(?i){SEXUALITY}", None, ("she is a lesbian", "he is gay")),
)
