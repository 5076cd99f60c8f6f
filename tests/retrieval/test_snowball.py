"""Stems against words whose stems Snowball's own implementation gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mumei.retrieval.snowball import stem

# Word and stem by libstemmer 3 (English).
KNOWN = """
consign consign consigned consign consigning consign consignment consign consist consist consistency consist
consolatory consolatori consolidating consolid knackeries knackeri knavish knavish knightly knight knots knot
caresses caress flies fli dies die ties tie cries cri gas gas this this kiwis kiwi gaps gap agreed agre feed feed
hoping hope hopped hop hopping hop hissing hiss falling fall failing fail filing file adding add added add egg egg
happy happi say say cry cri by by sky sky skies sky dying die news news inning inning evening evening succeed succeed
rational ration conditional condit valency valenc hesitancy hesit digitizer digit conformably conform radically radic
differently differ vilely vile analogously analog vietnamization vietnam predication predic operator oper
feudalism feudal decisiveness decis hopefulness hope callousness callous formality formal sensitivity sensit
sensibility sensibl triplicate triplic formative format formalize formal electricity electr electrical electr
hopeful hope goodness good revival reviv allowance allow inference infer airliner airlin gyroscopic gyroscop
adjustable adjust defensible defens irritant irrit replacement replac adjustment adjust dependent depend adoption adopt
communism communism activate activ angularity angular homologous homolog effective effect bowdlerize bowdler
probate probat rate rate cease ceas controlled control rolled roll generate generat generic generic communication communic
arsenal arsenal university universiti emergency emergenc organism organism oncologist oncolog paste paste yes yes youth youth
boyish boyish sayings say diabetes diabet biopsies biopsi cardiovascular cardiovascular mg mg a a covid19 covid19
""".split()


@pytest.mark.parametrize(("word", "expected"), list(zip(KNOWN[::2], KNOWN[1::2], strict=True)))
def test_stems(word, expected):
    assert stem(word) == expected


@given(st.text(alphabet="abcdefghilmnorstuyz'", max_size=14))
def test_a_stem_is_never_longer_than_its_word_by_more_than_an_e(word):
    assert len(stem(word)) <= len(word) + 1
    assert "Y" not in stem(word)
