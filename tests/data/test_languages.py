"""The guess of a language: never another than the true one on real texts, mostly the true one where there is enough text."""

from __future__ import annotations

import pytest

from mumei.data.languages import COMMON, LANGUAGES, NAMES, guess

# Sentences written for this test.
TEXTS = {
    "en": "The patients were treated with the drug for ten days and none of them had a fever by the end of that time. ",
    "de": "Die Patienten wurden zehn Tage lang mit dem Mittel behandelt und keiner von ihnen hatte am Ende noch Fieber. ",
    "fr": "Les patients ont été traités avec le médicament pendant dix jours et aucun de ces patients ne avait de la fièvre. ",
    "es": "Los pacientes fueron tratados con el medicamento durante diez días y ninguno de ellos tenía fiebre al final. ",
    "nl": "De patiënten werden tien dagen met het middel behandeld en geen van hen had aan het einde van die tijd nog koorts. ",
    "sv": "Patienterna behandlades med läkemedlet i tio dagar och ingen av dem hade feber vid slutet av den tiden. ",
    "ja": "患者は十日間この薬で治療を受け、その期間の終わりには誰も熱がなかった。",
    "zh": "患者接受该药物治疗十天，治疗结束时没有一名患者出现发热，也没有其他症状。",
    "ru": "Пациенты получали препарат в течение десяти дней, и к концу этого времени ни у кого не было жара. ",
}


@pytest.mark.parametrize("code", TEXTS)
def test_plain_texts(code):
    assert guess(TEXTS[code] * 4) == code
    assert code in LANGUAGES


def test_no_guess():
    assert guess("") == ""
    assert guess(TEXTS["en"]) == ""  # too short
    assert guess("BRCA1 TP53 EGFR KRAS " * 30) == ""
    assert guess("hepatitis A and hepatitis E, type A, type E " * 10) != "pt"
    assert guess((TEXTS["en"] + TEXTS["de"]) * 3) == ""


def test_tables():
    assert set(COMMON) <= set(NAMES) <= LANGUAGES
    assert all(len(code) == 2 for code in LANGUAGES)
