"""Languages: ISO 639-1 codes, English names of those that corpora are in, and a guess by the commonest words.

The guess is for checks only. It counts words that are common in one of `COMMON`'s languages, and knows Chinese, Japanese,
Korean, Greek, Russian and Arabic by their letters. It says "" where it is not clear.
"""

from __future__ import annotations

import re
from collections import Counter

LANGUAGES = frozenset(
    (
        "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo "
        "es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki "
        "kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr "
        "nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th "
        "ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
    ).split()
)
NAMES = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "nl": "Dutch",
    "pt": "Portuguese",
    "ro": "Romanian",
    "sv": "Swedish",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
COMMON = {
    "de": "der die das und ist nicht mit ein eine einer von bei auch wird wurde werden durch sich als auf dem des nach oder",
    "en": "the of and is in that with was for were by this from are which has have been their these we than had not",
    "es": "el los las y del por con para una que como más fue sin su se al entre pero sobre este esta años presenta",
    "fr": "le les et des du une est dans pour par avec sur au aux qui plus été pas ont ce ces cette ou sont être son chez",
    "it": "il gli di e della che con una per sono nel alla dei è stato anche delle più non come le dal questo",
    "nl": "het een van en is niet met zijn werd wordt bij ook door voor aan naar dat deze worden als dit maar uit",
    "pt": "os as e do da dos das uma com para por não foi mais ao como em pela entre são se no na sua",
    "ro": "și cu din pentru este care pe sunt în nu au fost mai sau prin ale unui unei sa cel",
    "sv": "och att det som en är av för med den till inte på ett om har var vid kan eller från även när",
}
LEAST, CLEAR = 40, 3.0  # words of a text to guess from; how much more of its words than of any other's
DIFFERENT = 5  # of its words have to occur: "E" and "A" again and again are no Portuguese
_WORD = re.compile(r"[^\W\d_]+")
_SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
}
_OWNERS: dict[str, list[str]] = {}
for _code, _words in COMMON.items():
    for _word in _words.split():
        _OWNERS.setdefault(_word, []).append(_code)


def guess(text: str) -> str:
    """Return the code of the language that a text is clearly in, or "".

    Examples
    --------
    >>> guess("Der Patient wurde mit Fieber und Husten aufgenommen und von der Station nach der Operation " * 3)
    'de'
    >>> guess("BRCA1"), guess("結核は結核菌によって起こる病気である。" * 5)
    ('', 'ja')
    """
    letters = sum(map(str.isalpha, text))
    for code, letter in _SCRIPTS.items():
        if letters >= LEAST and len(letter.findall(text)) > (letters / 10 if code == "ja" else letters / 2):
            return code
    words = _WORD.findall(text.lower())
    if len(words) < LEAST:
        return ""
    found = Counter(code for word in words for code in _OWNERS.get(word, ()))
    best = found.most_common(2)
    if not best or best[0][1] < len(words) / 10 or (len(best) > 1 and best[0][1] < CLEAR * best[1][1]):
        return ""
    if sum(best[0][0] in _OWNERS.get(word, ()) for word in set(words)) < DIFFERENT:
        return ""
    return best[0][0]
