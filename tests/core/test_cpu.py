"""The processor's own words, read from files made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from mumei.core import cpu

AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 {extra}\n\nprocessor\t: 1\nvendor_id\t: Other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"


@pytest.fixture
def said(monkeypatch):
    def say(text: str | None) -> None:
        def read(path, errors=None):
            assert str(path) == "/proc/cpuinfo"
            if text is None:
                raise FileNotFoundError
            return text

        monkeypatch.setattr(Path, "read_text", read)
        cpu.cpu_flags.cache_clear()

    yield say
    cpu.cpu_flags.cache_clear()


def test_vendor_and_flags_are_the_first_processors(said):
    said(AMD.format(extra="avx512_vnni"))
    assert cpu.cpu_vendor() == "AuthenticAMD"
    assert cpu.cpu_flags() == {"fpu", "avx2", "avx512_vnni"}


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        (AMD.format(extra="avx512_vnni"), True),
        (AMD.format(extra="sse"), False),
        (ARM, True),
        (None, False),
        ("", False),
    ],
)
def test_bytes_are_multiplied_where_there_are_instructions_for_it(said, text, fast):
    said(text)
    assert cpu.multiplies_bytes() is fast


INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu avx512f {extra}\n"


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        (AMD.format(extra="avx512f avx512_bf16"), True),
        (AMD.format(extra="avx512f"), False),
        (INTEL.format(extra="avx512_bf16"), False),
        (INTEL.format(extra="avx512_bf16 amx_bf16 amx_tile"), True),
        (ARM, False),
        ("Features\t: fp asimd asimddp bf16\n", True),
    ],
)
def test_bfloat16_pays_where_its_products_are_the_faster(said, text, fast):
    said(text)
    assert cpu.multiplies_bfloat16() is fast


def test_where_no_flags_are_told_torch_answers(said, monkeypatch):
    import torch

    said(None)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert cpu.multiplies_bfloat16()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert not cpu.multiplies_bfloat16()


def test_without_the_file_there_is_still_a_vendor(said, monkeypatch):
    said(None)
    assert cpu.cpu_vendor()
    monkeypatch.setattr(cpu.platform, "processor", lambda: "AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD")
    assert cpu.cpu_vendor() == "AuthenticAMD"
    assert cpu.cpu_flags() == frozenset()
