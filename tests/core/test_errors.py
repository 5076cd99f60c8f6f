"""Errors: one base, exit codes, builtin parents, suggestions."""

from __future__ import annotations

import pytest

from mumei.core import errors


@pytest.mark.parametrize(
    ("cls", "parent", "code"),
    [
        (errors.UsageError, ValueError, 2),
        (errors.DataError, ValueError, 1),
        (errors.ArtifactError, RuntimeError, 1),
        (errors.StorageError, OSError, 1),
        (errors.FetchError, RuntimeError, 1),
        (errors.NonFiniteError, FloatingPointError, 1),
    ],
)
def test_every_error_is_a_mumei_error_and_a_builtin_one(cls, parent, code):
    error = cls("what, why, how")
    assert isinstance(error, errors.MumeiError)
    assert isinstance(error, parent)
    assert error.exit_code == code
    assert str(error) == "what, why, how"


def test_a_missing_extra_says_what_to_install():
    error = errors.MissingExtraError("reading h5ad", "anndata", "anndata")
    assert isinstance(error, ImportError)
    assert str(error).endswith("Install it with: pip install 'mumei[anndata]'")


def test_suggestions_ignore_case_and_far_names():
    assert errors.suggest("MINILM", ["minilm", "kmer"]) == " Did you mean 'minilm'?"
    assert errors.suggest("kmr", ["Kmer"]) == " Did you mean 'Kmer'?"
    assert errors.suggest("zzz", ["minilm", "kmer"]) == ""
    assert errors.suggest("aab", ["aaa", "aac", "aad", "aae"], limit=2).count(" or ") == 1


def test_an_unknown_name_is_answered_with_what_is_allowed():
    error = errors.unknown("encoder", "minilmm", iter(["minilm", "kmer"]))
    assert isinstance(error, errors.UsageError)
    assert str(error) == "unknown encoder 'minilmm'. Did you mean 'minilm'? Allowed: kmer, minilm."
    assert str(errors.unknown("encoder", "x", [])) == "unknown encoder 'x'. Allowed: (none registered)."


@pytest.mark.parametrize("value", [None, 3, 2.5, ("a",)])
def test_a_name_that_is_no_text_is_unknown_too(value):
    assert f"unknown precision {value!r}. Allowed: bf16, float32." in str(
        errors.unknown("precision", value, ["float32", "bf16"])
    )


def test_every_error_comes_back_from_another_process():
    """What a worker process raises reaches its parent by the same road as here: taken apart and made again."""
    import copy

    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.MumeiError)]
    assert len(classes) >= 8
    for cls in classes:
        made = cls("a", "b", "c") if cls is errors.MissingExtraError else cls("what to do")
        again = copy.copy(made)
        assert type(again) is cls
        assert str(again) == str(made)
