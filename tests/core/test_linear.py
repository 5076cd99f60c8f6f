"""The fast linear against `F.linear` and its gradients, on every path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mumei.core import linear
from mumei.core.errors import UsageError
from mumei.core.linear import FastLinear, capability, fast_linear


@pytest.fixture(params=["1", "0"])
def path(request, monkeypatch):
    monkeypatch.setenv("MUMEI_FAST_LINEAR", request.param)
    capability.cache_clear()
    yield request.param
    capability.cache_clear()


def data(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*s, generator=generator).requires_grad_() for s in shapes]


@pytest.mark.parametrize("shape", [(1, 5), (7, 5), (2, 3, 5), (0, 5), (5,)])
@pytest.mark.parametrize("biased", [True, False])
def test_value_and_gradients_equal_the_plain_product(path, shape, biased):
    """Expected: torch's own F.linear and its gradients."""
    x, w, b = data(shape, (4, 5), (4,))
    bias = b if biased else None
    inputs = [x, w, b] if biased else [x, w]
    ours, plain = fast_linear(x, w, bias), F.linear(x, w, bias)
    torch.testing.assert_close(ours, plain)
    g = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    for a, e in zip(torch.autograd.grad(ours, inputs, g), torch.autograd.grad(plain, inputs, g), strict=True):
        torch.testing.assert_close(a, e, atol=1e-5, rtol=1e-5)


def test_second_derivatives_equal_the_plain_ones(path):
    x, w, b = data((3, 5), (4, 5), (4,))

    def penalty(f):
        (g,) = torch.autograd.grad(f(x, w, b).tanh().sum(), x, create_graph=True)
        return torch.autograd.grad((g**2).sum(), [x, w])

    for a, e in zip(penalty(fast_linear), penalty(F.linear), strict=True):
        torch.testing.assert_close(a, e, atol=1e-5, rtol=1e-5)


def test_strided_input_other_types_and_autocast(path):
    x, w, b = data((5, 7), (4, 5), (4,))
    torch.testing.assert_close(fast_linear(x.t(), w, b), F.linear(x.t(), w, b))
    assert fast_linear(x.t().double(), w.double(), b.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert fast_linear(x.t(), w, b).dtype == torch.bfloat16


def test_gradients_only_where_they_are_wanted(path):
    x, w, b = data((3, 5), (4, 5), (4,))
    fast_linear(x.detach(), w, b.detach()).sum().backward()
    assert x.grad is None
    assert b.grad is None
    torch.testing.assert_close(w.grad, x.detach().sum(0).expand(4, 5))


def test_layer_is_a_drop_in(path):
    ours, plain = FastLinear(5, 4), torch.nn.Linear(5, 4)
    plain.load_state_dict(ours.state_dict())
    (x,) = data((3, 5))
    torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize(
    ("processor", "agrees", "used"), [("AuthenticAMD", True, True), ("GenuineIntel", True, False), ("AuthenticAMD", False, False)]
)
def test_choice_depends_on_the_machine_alone(monkeypatch, processor, agrees, used):
    monkeypatch.delenv("MUMEI_FAST_LINEAR", raising=False)
    monkeypatch.setattr(linear, "_processor", lambda: processor)
    monkeypatch.setattr(linear, "_agrees", lambda: agrees)
    capability.cache_clear()
    assert capability().used is used
    assert capability().reason
    capability.cache_clear()


def test_a_wrong_switch_is_refused_and_a_missing_operator_is_no_error(monkeypatch):
    monkeypatch.setenv("MUMEI_FAST_LINEAR", "yes")
    capability.cache_clear()
    with pytest.raises(UsageError, match="'yes'"):
        capability()
    capability.cache_clear()

    def missing(*a):
        raise AttributeError

    monkeypatch.setattr(linear, "_product", missing)
    assert linear._agrees() is False


def test_measured_speeds_are_positive():
    assert all(v > 0 for v in linear.measure(32, 0.001).values())
