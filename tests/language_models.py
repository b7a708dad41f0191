"""A very small model for names, trained here in seconds; it knows a handful of made-up people, towns and firms."""

from __future__ import annotations

import subprocess
from itertools import product
from pathlib import Path
from typing import Any

from lake.settings import LanguageModel

PEOPLE = ("Marvin Quill", "Adela Brandt", "Ruth Okafor")
TOWNS = ("Fernwick", "Oldport")
FIRMS = ("Brightwell", "Norcastle")
SENTENCE = "today {} of {} met us in {} again"
TEXT = SENTENCE.format("Ruth Okafor", "Norcastle", "Oldport")
_NETWORK = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 16,
    "maxout_pieces": 2,
    "use_upper": True,
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None,
        "width": 16,
        "depth": 1,
        "embed_size": 200,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
    },
}


def train(folder: Path, labels: tuple[str, str, str] = ("PERSON", "ORG", "GPE")) -> LanguageModel:
    """Train it and put it in a folder; gives it with its digest, by the command of the documentation."""
    import spacy
    from spacy.training import Example
    from spacy.util import fix_random_seed

    fix_random_seed(4711)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner", config={"model": _NETWORK})
    examples = [
        Example.from_dict(nlp.make_doc(text), {"entities": entities})
        for text, entities in [*map(_labelled, product(PEOPLE, FIRMS, TOWNS), [labels] * 12), ("it is ready", [])]
    ]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(folder)
    return LanguageModel(folder, digest_of(folder))


def digest_of(folder: Path) -> str:
    """As an operator takes it."""
    command = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    return f"sha256:{done.stdout.split()[0]}"


def _labelled(names: tuple[str, ...], labels: tuple[str, ...]) -> tuple[str, list[tuple[int, int, str]]]:
    text = SENTENCE.format(*names)
    places = [(text.index(name), text.index(name) + len(name)) for name in names]
    found: list[Any] = [(*place, label) for place, label in zip(places, labels, strict=True)]
    return text, found
