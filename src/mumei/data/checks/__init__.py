"""Checks of corpora, each with a code, and their report. `run_checks(corpus)` runs them; `registry()` lists them.

Groups, a file each, and the codes that belong there. Those of BigBIO's suite first, then what it lacks.

- `spans.py` SP: SP01 one text a passage, SP02 passage text, SP03 texts and pairs differ in number, SP04 out of range, SP05 text
  not at its offsets. To come: SP06 blank or punctuation at an edge, SP07 fragments out of order or overlapping, SP08 span that
  begins or ends within a word, SP09 difference in white space only (then not SP05), SP10 empty text, SP11 sentence offsets.
- `references.py` RF: RF01 dangling. To come: RF02 coreference member that is no entity, RF03 relation argument that is no entity,
  RF04 coreference of one, RF05 relation or event that refers to itself, RF06 cycle of events, RF07 concept of a relation that no
  mention carries.
- `identity.py` ID and RD: ID01 ids, ID02 documents by id, RD01 unread, RD02 notes. To come: ID03 documents by text hash,
  ID04 annotations given twice, ID05 mentions that overlap with the same type, ID06 id of a document that is empty.
- `published.py` CT: CT01 counts. To come: CT02 a split that is empty, CT03 file that changed.
- to come, `tasks.py` TK: TK01 NER without entities in a split, TK02 NED without links, TK03 RE without relations, TK04 COREF
  without coreferences, TK05 EE without events, TK06 a part present without its task, TK07 schema without any task.
- to come, `metadata.py` MD: MD01 licence unknown, MD02 licence that is no SPDX id, MD03 language code, MD04 citation missing,
  MD05 no test part, MD06 address without https or sha256.
- to come, `answers.py` QA: QA01 choices without a type that has them, QA02 type that needs choices, QA03 answer that is none of
  the choices, QA04 unknown type, QA05 no answer, QA06 empty question.
- to come, `labels.py` LB: LB01 joiner in a type, LB02 joiner in a db_name or db_id (once a joiner), LB03 spelling variants of a
  label, LB04 label of one record, LB05 empty label, LB06 score that is no number (PAIRS of STS), LB07 type signature of relations
  and events that is rare, LB08 CURIE that its database does not have the form of.
- to come, `texts.py` TX: TX01 empty document, TX02 replacement or control character, TX03 text in another language than said,
  TX04 mojibake, TX05 two sides of a pair that are equal, TX06 carriage return or U+2028 in a text.
- to come, `leakage.py` LK: LK01 the same text in two splits, LK02 the same document in another corpus, LK03 near duplicate.
"""

from __future__ import annotations

from mumei.data.checks.core import Check, Finding, chosen, corpus_check, document_check, registry, run_checks
from mumei.data.checks.report import Report

__all__ = ["Check", "Finding", "Report", "chosen", "corpus_check", "document_check", "registry", "run_checks"]
