"""Names of residues in structure files: the twenty, what stands for one of them, and what is water.

A modified residue is read as the one that it was made from (selenomethionine as methionine), which is what a sequence model
knows; each reading is told. Selenocysteine and pyrrolysine have letters of their own that no design may hold: they become X.
"""

from __future__ import annotations

STANDARD = {
    "ALA": "A", "CYS": "C", "ASP": "D", "GLU": "E", "PHE": "F", "GLY": "G", "HIS": "H", "ILE": "I", "LYS": "K", "LEU": "L",
    "MET": "M", "ASN": "N", "PRO": "P", "GLN": "Q", "ARG": "R", "SER": "S", "THR": "T", "VAL": "V", "TRP": "W", "TYR": "Y",
}  # fmt: skip
MODIFIED = {
    "MSE": "M", "SEP": "S", "TPO": "T", "PTR": "Y", "HYP": "P", "MLY": "K", "M3L": "K", "MLZ": "K", "ALY": "K", "KCX": "K",
    "LLP": "K", "CSO": "C", "CSD": "C", "CME": "C", "OCS": "C", "CSS": "C", "CSX": "C", "CAS": "C", "YCM": "C", "SCH": "C",
    "PCA": "E", "CGU": "E", "HIC": "H", "NEP": "H", "TYS": "Y", "NIY": "Y", "FME": "M", "MHO": "M", "AIB": "A", "ABA": "A",
    "DAL": "A", "MEN": "N", "MEQ": "Q", "SAC": "S", "TRQ": "W", "BFD": "D", "PHD": "D", "SNN": "N",
}  # fmt: skip
FORCE_FIELD = {  # the same residue in another state of charge, as simulation packages write it: nothing is changed
    "HSD": "H", "HSE": "H", "HSP": "H", "HID": "H", "HIE": "H", "HIP": "H", "CYX": "C", "CYM": "C", "ASH": "D", "GLH": "E",
    "LYN": "K",
}  # fmt: skip
LETTERS = {**MODIFIED, **FORCE_FIELD, **STANDARD}
WITHOUT_LETTER = {
    "UNK": "unknown residue",
    "SEC": "selenocysteine",
    "PYL": "pyrrolysine",
    "ASX": "D or N",
    "GLX": "E or Q",
}
WATER = {"HOH", "WAT", "DOD", "H2O", "TIP", "TP3", "SOL"}
BACKBONE = ("N", "CA", "C")
