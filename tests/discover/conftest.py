"""A small made-up collection, and an encoder that needs no model, for tests of everything around it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

SUBJECTS = {
    "heart": "heart artery valve blood pressure beat ventricle infarction",
    "brain": "brain neuron memory stroke seizure cortex synapse",
    "virus": "virus vaccine antibody infection immune fever outbreak",
}


class WordEncoder:
    """Word counts over a fixed vocabulary: deterministic, quick, and near for texts that share words."""

    name, dim = "words/test", 24

    def encode(self, items, *, batch_size=None, progress=None):
        vocabulary = sorted({w for words in SUBJECTS.values() for w in words.split()})
        out = np.zeros((len(items), self.dim), dtype=np.float32)
        for i, text in enumerate(items):
            for word in str(text).lower().replace(".", " ").split():
                out[i, vocabulary.index(word) if word in vocabulary else self.dim - 1] += (
                    1 if word in vocabulary else 0.2
                )
            out[i] /= max(np.linalg.norm(out[i]), 1e-9)
            if progress is not None:
                progress(1)
        return out


@pytest.fixture
def word_encoder(monkeypatch):
    """Put the word encoder in the place of the model."""
    monkeypatch.setattr("mumei.retrieval.encoders.text_encoder", lambda name=None: WordEncoder())
    monkeypatch.setattr("mumei.discover.answer.text_encoder", lambda name=None: WordEncoder())


@pytest.fixture
def notes(tmp_path) -> Path:
    """90 rows of three subjects in JSON lines, with titles."""
    rng = np.random.default_rng(0)
    path = tmp_path / "notes.jsonl"
    lines = []
    for i in range(90):
        subject = list(SUBJECTS)[i % 3]
        words = rng.choice(SUBJECTS[subject].split(), 6)
        text = f"Note {i} on {words[0]} and {words[1]}. Then {' '.join(words[2:])}."
        lines.append(json.dumps({"id": f"n{i}", "title": f"{subject} {i}", "text": text}))
    path.write_text("\n".join(lines) + "\n")
    return path
