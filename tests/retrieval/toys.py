"""A small in-memory collection of made-up passages, for tests of the search above it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mumei.retrieval.guard import background
from mumei.retrieval.lexical import tokens

SUBJECTS = {
    "heart": "heart artery valve blood pressure beat ventricle infarction",
    "brain": "brain neuron memory stroke seizure cortex synapse",
    "virus": "virus vaccine antibody infection immune fever outbreak",
}
WORDS = sorted({w for words in SUBJECTS.values() for w in words.split()})


class ToyEncoder:
    """Word counts over a fixed vocabulary, of unit length: near for texts that share words."""

    name, dim = "words/toy", len(WORDS) + 1

    def encode(self, items, *, batch_size=None, progress=None):
        out = np.zeros((len(items), self.dim), dtype=np.float32)
        for i, text in enumerate(items):
            for word in tokens(text, stem=False):
                out[i, WORDS.index(word) if word in WORDS else self.dim - 1] += 1 if word in WORDS else 0.2
            out[i] /= max(np.linalg.norm(out[i]), 1e-9)
        return out


class ToyIndex:
    """Exact search by brute force."""

    def __init__(self, vectors):
        self.all = vectors

    def __len__(self):
        return len(self.all)

    def rows(self, wanted):
        return self.all[np.asarray(wanted, dtype=int)]

    def search(self, queries, k, *, allow=None):
        scores = queries @ self.all.T
        possible = np.arange(len(self.all)) if allow is None else np.flatnonzero(allow)
        order = np.argsort(-scores[:, possible], axis=1, kind="stable")[:, :k]
        rows = possible[order]
        return rows, np.take_along_axis(scores, rows, 1)


class ToyWords:
    """Shared words counted."""

    def __init__(self, texts):
        self.counts = [Counter(tokens(t)) for t in texts]

    def search(self, query, k, *, allow=None):
        wanted = Counter(tokens(query))
        scored = [(sum(min(c[w], 3) * n for w, n in wanted.items()), -row) for row, c in enumerate(self.counts)]
        best = sorted((s for s in scored if s[0] and (allow is None or allow[-s[1]])), reverse=True)[:k]
        return [-row for _, row in best], [float(score) for score, _ in best]


class ToyMaterial:
    """90 passages of three subjects."""

    kind = "text"

    def __init__(self, texts=None):
        self.texts = texts or made_up_texts()
        self.encoder = ToyEncoder()
        self.vectors = ToyIndex(self.encoder.encode(self.texts))
        self.words = ToyWords(self.texts)
        self.background = background(self.vectors)
        self.live = np.ones(len(self.texts), dtype=bool)

    def rows(self, wanted, columns=("id", "title", "text", "metadata")):
        whole = ({"row": int(r), "id": f"n{r}", "title": "", "text": self.texts[r], "metadata": {}} for r in wanted)
        return [{key: item[key] for key in ("row", *columns)} for item in whole]

    def where(self, expression):
        return np.array([expression in text for text in self.texts])


def made_up_texts(n=90):
    rng = np.random.default_rng(0)
    texts = []
    for i in range(n):
        words = rng.choice(SUBJECTS[list(SUBJECTS)[i % 3]].split(), 6)
        texts.append(f"Note {i} on {words[0]} and {words[1]}. Then {' '.join(words[2:])}.")
    return texts


class Scripted:
    """A generator that gives the same texts to every prompt and remembers what it was asked."""

    name = "scripted"

    def __init__(self, *texts, summary=""):
        self.texts, self.summary, self.asked = texts, summary, []

    def generate(self, prompts, *, n=1, temperature=1.0, max_tokens=512, seed=0):
        self.asked.append({"prompts": prompts, "n": n, "temperature": temperature, "max_tokens": max_tokens})
        if self.summary and prompts[0].endswith("Summary:"):
            return [[self.summary] for _ in prompts]
        return [[self.texts[i % len(self.texts)] for i in range(n)] for _ in prompts]
