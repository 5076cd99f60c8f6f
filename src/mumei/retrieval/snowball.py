"""Snowball's English stemmer ("Porter2"), for comparing with systems that use it.

Source: Porter 2001, "Snowball: a language for stemming algorithms", English algorithm, as of Snowball 3.
It cuts more than biomedical names survive ("diabetes" gives "diabet"); mumei's own index cuts a plural's s alone.
"""

from __future__ import annotations

import re
from functools import lru_cache

_VOWELS = "aeiouy"
_DOUBLES = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
_WHOLE = {
    **{"skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl"},
    **{"ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl"},
    **{word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")},
}
_KEPT = {"inning", "outing", "evening", "canning", "herring", "earring", "proceed", "exceed", "succeed"}
_SECOND = {
    **{
        "ational": "ate",
        "tional": "tion",
        "enci": "ence",
        "anci": "ance",
        "abli": "able",
        "entli": "ent",
        "izer": "ize",
    },
    **{"ization": "ize", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al", "alli": "al", "fulness": "ful"},
    **{"ousli": "ous", "ousness": "ous", "iveness": "ive", "iviti": "ive", "biliti": "ble", "bli": "ble", "ogi": "og"},
    "ogist": "og",
    **{"fulli": "ful", "lessli": "less", "li": ""},
}
_THIRD = {
    **{"ational": "ate", "tional": "tion", "alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic", "ful": ""},
    **{"ness": "", "ative": ""},
}
_FOURTH = [
    "ement",
    *"ance ence able ible ment".split(),
    *"ant ent ism ate iti ous ive ize ion".split(),
    "al",
    "er",
    "ic",
]
_REGION = re.compile(rf"[{_VOWELS}][^{_VOWELS}]")
_SHORT = re.compile(rf"(?:^|[^{_VOWELS}])[{_VOWELS}][^{_VOWELS}wxY]$|^[{_VOWELS}][^{_VOWELS}]$|^past$")


@lru_cache(65_536)
def stem(word: str) -> str:
    """Return the stem of a lower-case English word.

    Examples
    --------
    >>> stem("generalizations"), stem("hopping"), stem("sky")
    ('general', 'hop', 'sky')
    """
    if len(word) <= 2:
        return word
    word = word.removeprefix("'")
    if word in _WHOLE:
        return _WHOLE[word]
    word = re.sub(rf"^y|(?<=[{_VOWELS}])y", "Y", word)
    first, second = _regions(word)
    word = _plural(re.sub(r"('s'|'s|')$", "", word))
    if word in _KEPT:
        return word
    word = _past(word, first)
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
        word = word[:-1] + "i"
    word = _replace(word, _SECOND, first, second)
    word = _replace(word, _THIRD, first, second)
    return _last(_fourth(word, second), first, second).replace("Y", "y")


def _regions(word: str) -> tuple[int, int]:
    """Return where R1 and R2 begin: after the first consonant that follows a vowel, and again from there."""
    prefix = re.match("gener|commun|arsen|past|univers|later|emerg|organ|inter", word)
    found = _REGION.search(word)
    first = prefix.end() if prefix else found.end() if found else len(word)
    found = _REGION.search(word, first)
    return first, found.end() if found else len(word)


def _has_vowel(text: str) -> bool:
    return any(letter in _VOWELS for letter in text)


def _plural(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _has_vowel(word[:-2]):
        return word[:-1]
    return word


def _past(word: str, first: int) -> str:
    """Cut -ed and -ing with what they did to the word before them."""
    for ending in ("eedly", "eed"):
        if word.endswith(ending):
            return word[: -len(ending)] + "ee" if len(word) - len(ending) >= first else word
    for ending in ("ingly", "edly", "ing", "ed"):
        if word.endswith(ending):
            rest = word[: -len(ending)]
            if not _has_vowel(rest):
                return word
            if rest.endswith(("at", "bl", "iz")):
                return rest + "e"
            if rest.endswith(_DOUBLES):
                return rest if len(rest) == 3 and rest[0] in "aeo" else rest[:-1]
            return rest + "e" if first >= len(rest) and _SHORT.search(rest) else rest
    return word


def _longest(word: str, endings: dict[str, str]) -> str:
    return next((word[-n:] for n in range(min(7, len(word)), 1, -1) if word[-n:] in endings), "")


def _replace(word: str, endings: dict[str, str], first: int, second: int) -> str:
    """Replace the longest ending that lies in R1; four of them have conditions of their own."""
    ending = _longest(word, endings)
    rest = word[: len(word) - len(ending)]
    refused = (
        not ending
        or len(rest) < first
        or (ending == "ogi" and not rest.endswith("l"))
        or (ending == "li" and rest[-1:] not in tuple("cdeghkmnrt"))
        or (ending == "ative" and len(rest) < second)
    )
    return word if refused else rest + endings[ending]


def _fourth(word: str, second: int) -> str:
    ending = next((e for e in _FOURTH if word.endswith(e)), "")
    rest = word[: len(word) - len(ending)]
    if not ending or len(rest) < second or (ending == "ion" and rest[-1:] not in ("s", "t")):
        return word
    return rest


def _last(word: str, first: int, second: int) -> str:
    rest = word[:-1]
    if word.endswith("e") and (len(rest) >= second or (len(rest) >= first and not _SHORT.search(rest))):
        return rest
    return rest if word.endswith("ll") and len(rest) >= second else word
