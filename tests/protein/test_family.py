"""A sequence put into an alignment's columns, and near relatives left out: by hand-made alignments, and the data's own maps."""

from __future__ import annotations

import numpy as np
import pytest

from mumei.core.errors import DataError, UsageError
from mumei.protein.family import aligned_query, identities, leave_out
from mumei.protein.sequence import Alignment, read_alignment
from mumei.protein.structure import read_structure

ROWS = ("MKTAYIAKQRQISFVKSHFSRQ", "MKTAYLAKQRQVSFVKAHFSRQ", "MRTA-IAKQKQISFIKSH--RQ", "LKTGYIARQRQISFVRSHFTRQ")
FAMILY = Alignment(tuple("abcd"), ROWS, "made")


def test_a_member_gets_its_own_columns():
    query = aligned_query(ROWS[1], FAMILY)
    assert query.row == ROWS[1]
    assert query.residues.tolist() == list(range(22))
    assert query.identity == 1.0


def test_a_domain_in_a_longer_chain_and_an_insertion():
    text = "GGGGGG" + ROWS[0][:10] + "PPP" + ROWS[0][10:] + "WWWW"
    query = aligned_query(text, FAMILY)
    assert [text[i] for i in query.residues] == [c for c in query.row if c != "-"]
    assert query.row.count("-") <= 3
    assert query.residues[0] >= 6
    assert not set(query.residues) & set(range(16, 19))  # the insertion is no site


def test_what_is_no_member_is_refused():
    with pytest.raises(DataError, match="does not align"):
        aligned_query("WWWWCCCCWWWWPPPP", FAMILY)


def test_identity_is_over_shared_columns_and_fragments_do_not_count_in_full():
    found = identities(Alignment(tuple("abc"), ("MKTA", "MKT-", "M---")), "MKTG")
    np.testing.assert_allclose(found, [0.75, 1.0, 1.0])
    assert identities(Alignment(("a",), ("M" + "-" * 11,)), "M" * 12)[0] == pytest.approx(0.25)


def test_leaving_out_takes_the_query_too():
    kept, dropped = leave_out(FAMILY, ROWS[0], 0.9)
    assert ROWS[0] not in kept.rows
    assert dropped == len(FAMILY) - len(kept)
    assert (identities(kept, ROWS[0]) <= 0.9).all()
    with pytest.raises(DataError, match="none is left"):
        leave_out(FAMILY, ROWS[0], 0.1)
    with pytest.raises(UsageError, match="identity"):
        leave_out(FAMILY, ROWS[0], 0.0)
    with pytest.raises(UsageError, match="columns"):
        leave_out(FAMILY, "MKT", 0.5)


@pytest.mark.parametrize("stem", ["PF00018_2O9S_A", "PF00240_2BWF_A", "PF00313_3I2Z_A"])
def test_it_finds_the_columns_that_the_data_records(data, stem):
    """Expected: the folder's own map from the structure's residues to the alignment's columns."""
    alignment = read_alignment(data / "msa" / f"{stem}.fasta.gz")
    name = stem.partition("_")[2]
    structure = read_structure(data / "structures" / f"{name[:4].lower()}_{name[-1]}.pdb.gz")
    wanted = next(
        line.split("\t")[2]
        for line in (data / "msa" / "domain_sequences.tsv").read_text().splitlines()
        if line.split("\t")[1] == name
    )
    query = aligned_query(structure.sequence, alignment)
    same = sum(a == b != "-" for a, b in zip(query.row, wanted, strict=True))
    assert same >= 0.9 * sum(c != "-" for c in wanted)
