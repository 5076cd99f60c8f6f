"""The fast product equals `F.linear` in value and every gradient, is chosen by the machine alone, and steps aside."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mumei.core import linear
from mumei.core.errors import UsageError
from mumei.core.linear import FastLinear, capability, fast_linear, measure


@pytest.fixture(params=["1", "0"], ids=["on", "off"])
def switch(request, monkeypatch):
    """Both paths, for products of any size."""
    monkeypatch.setenv(linear.SWITCH, request.param)
    monkeypatch.setattr(linear, "SMALL", 1)
    capability.cache_clear()
    yield request.param
    capability.cache_clear()


def draw(*shapes, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def gradients(call, inputs, g):
    return torch.autograd.grad(call(*inputs), inputs, g)


def same(f, inputs, seed=1):
    """Compare value and gradients with `F.linear`'s."""
    plain = F.linear(*inputs)
    torch.testing.assert_close(f(*inputs), plain, atol=1e-5, rtol=1e-5)
    g = torch.randn(plain.shape, generator=torch.Generator().manual_seed(seed))
    for ours, theirs in zip(gradients(f, inputs, g), gradients(F.linear, inputs, g), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (7, 5), (2, 3, 5), (2, 0, 5), (2, 1, 3, 5), (5,)])
@pytest.mark.parametrize("biased", [True, False])
def test_value_and_gradients(switch, shape, biased):
    same(fast_linear, draw(shape, (4, 5), *([(4,)] if biased else [])))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(0, 3))
def test_the_operator_itself_on_any_shape(rows, inputs, outputs, layout):
    """Straight to the operator: also where `fast_linear` would think the product too small."""
    if not capability().agrees:
        pytest.skip("this torch has no oneDNN linear operator")
    x, w, b = draw((rows, inputs), (outputs, inputs), (outputs,), seed=rows + 71 * inputs)
    if layout & 1:
        x = x.detach().t().contiguous().t().requires_grad_()
    if layout & 2:
        w = w.detach().repeat(1, 2)[:, ::2].requires_grad_() if inputs == 1 else w
    same(linear._Product.apply, [x, w, b])


def test_strided_and_expanded_inputs(switch):
    x, w, b = draw((10, 14), (4, 5), (4,))
    for view in (x[:, ::3], x.t()[::2, :5], x[:1, :5].expand(6, 5), x.reshape(2, 5, 14).transpose(1, 2)):
        torch.testing.assert_close(fast_linear(view, w, b), F.linear(view, w, b), atol=1e-5, rtol=1e-5)


def test_the_operator_never_sees_gaps_between_rows(switch, monkeypatch):
    """Halves of a matrix go in, a half's gradient comes back; the values are those of `F.linear`."""
    used = capability().enabled  # its own probe calls the operator too
    seen, operator = [], linear._operator
    monkeypatch.setattr(linear, "_operator", lambda *given: seen.extend(given[:2]) or operator(*given))
    both, w, b, target = draw((6, 10), (4, 5), (4,), (6, 8))

    def half(both, w, b, f):
        return (f(both.chunk(2, 1)[0], w, b) - target.chunk(2, 1)[1]).square().sum()

    ours, theirs = (torch.autograd.grad(half(both, w, b, f), [both, w, b]) for f in (fast_linear, F.linear))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    wide = torch.zeros(6, 8)[:, :4]  # a gradient with gaps
    torch.autograd.grad(fast_linear(both.chunk(2, 1)[0], w, b), [w], wide)
    assert bool(seen) == used
    assert all(t.is_contiguous() or t.t().is_contiguous() for t in seen)


def test_the_probe_under_autocast():
    """The probe is worked out in float32 whatever the caller's autocast says; torch would give it bfloat16."""
    before = linear._agrees()
    with torch.autocast("cpu", torch.bfloat16):
        assert linear._agrees() == before


def test_expanded_gradient(switch):
    """`sum` gives a gradient of stride 0; expected: column sums by hand."""
    x, w, b = draw((6, 5), (4, 5), (4,))
    fast_linear(x, w, b).sum().backward()
    torch.testing.assert_close(w.grad, x.detach().sum(0).expand(4, 5))
    torch.testing.assert_close(b.grad, torch.full((4,), 6.0))
    torch.testing.assert_close(x.grad, w.detach().sum(0).expand(6, 5))


def test_gradients_only_where_they_are_wanted(switch):
    x, w, b = draw((3, 5), (4, 5), (4,))
    fast_linear(x.detach(), w, b.detach()).sum().backward()
    assert x.grad is None
    assert b.grad is None
    assert w.grad is not None


def test_second_derivatives(switch):
    """Expected: those of `F.linear`, for a gradient penalty."""
    inputs = draw((3, 5), (4, 5), (4,))

    def penalty(f):
        (g,) = torch.autograd.grad(f(*inputs).tanh().sum(), inputs[0], create_graph=True)
        return torch.autograd.grad(g.square().sum(), inputs[:2])

    for ours, theirs in zip(penalty(fast_linear), penalty(F.linear), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_against_finite_differences(switch):
    """Central differences of the float32 function itself, step 1e-2: exact for a linear map up to rounding."""
    inputs = draw((3, 5), (4, 5), (4,))
    (g,) = draw((3, 4), seed=2)
    ours = gradients(fast_linear, inputs, g)
    for i, tensor in enumerate(inputs):
        for index in range(0, tensor.numel(), 3):
            step = torch.zeros(tensor.numel()).index_fill(0, torch.tensor([index]), 1e-2).view_as(tensor)
            up, down = ([t + s * step if j == i else t for j, t in enumerate(inputs)] for s in (1, -1))
            numeric = ((fast_linear(*up) - fast_linear(*down)) * g).sum().item() / 2e-2
            assert float(ours[i].flatten()[index]) == pytest.approx(numeric, abs=2e-3)


def test_other_types_autocast_and_functional_transforms_fall_back(switch, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the operator was called")

    capability()  # its own probe may call the operator
    monkeypatch.setattr(linear, "_operator", refuse)
    x, w, b = draw((3, 5), (4, 5), (4,))
    assert fast_linear(x.double(), w.double(), b.double()).dtype is torch.float64
    assert fast_linear(x.bfloat16(), w.bfloat16(), b.bfloat16()).dtype is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        out = fast_linear(x, w, b)
        assert out.dtype is torch.bfloat16
    out.float().sum().backward()
    assert w.grad is not None
    jacobian = torch.func.jacrev(lambda v: fast_linear(v, w, b))(x.detach()[0])
    torch.testing.assert_close(jacobian, w)
    assert fast_linear(x.to("meta"), w.to("meta"), b.to("meta")).shape == (3, 4)
    assert torch.func.vmap(lambda v: fast_linear(v, w, b))(x).shape == (3, 4)


def test_a_small_product_is_left_to_the_plain_one(monkeypatch):
    monkeypatch.setattr(linear, "_operator", lambda *a: pytest.fail("the operator was called"))
    x, w = draw((3, 5), (4, 5))
    torch.testing.assert_close(fast_linear(x, w), F.linear(x, w), rtol=0, atol=0)


def test_wrong_shapes_raise_as_plain_torch_does(switch):
    x, w, b = draw((3, 5), (4, 6), (7,))
    with pytest.raises(RuntimeError):
        fast_linear(x, w)
    with pytest.raises(RuntimeError):
        fast_linear(x, w[:, :5], b)


def test_layer_has_the_parameters_and_state_of_the_plain_one(switch):
    ours, plain = FastLinear(5, 4), nn.Linear(5, 4)
    plain.load_state_dict(ours.state_dict())
    (x,) = draw((2, 3, 5))
    torch.testing.assert_close(ours(x), plain(x))
    assert isinstance(ours, nn.Linear)
    assert FastLinear(5, 4, bias=False).bias is None


@pytest.mark.parametrize(
    ("wanted", "vendor", "agrees", "enabled", "said"),
    [
        ("", "AuthenticAMD", True, True, "AuthenticAMD"),
        ("", "GenuineIntel", True, False, "MUMEI_FAST_LINEAR=1"),
        ("1", "GenuineIntel", True, True, "set by"),
        ("0", "AuthenticAMD", True, False, "set by"),
        ("1", "AuthenticAMD", False, False, "disagrees"),
    ],
)
def test_choice_depends_on_the_machine_alone(monkeypatch, wanted, vendor, agrees, enabled, said):
    monkeypatch.setenv(linear.SWITCH, wanted)
    monkeypatch.setattr(linear, "cpu_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(linear, "_agrees", lambda: agrees)
    found = capability.__wrapped__()
    assert (found.enabled, found.vendor) == (enabled, vendor)
    assert said in found.reason


def test_a_wrong_switch_and_a_missing_or_wrong_operator(monkeypatch):
    monkeypatch.setenv(linear.SWITCH, "yes")
    with pytest.raises(UsageError, match=r"'yes'.*0 .*1"):
        capability.__wrapped__()
    monkeypatch.setenv(linear.SWITCH, "1")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    found = capability.__wrapped__()
    assert (found.exists, found.agrees, found.enabled) == (False, False, False)

    def missing(*arguments):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(linear, "_operator", missing)
    assert linear._agrees() is False
    monkeypatch.setattr(linear, "_operator", lambda x, w, b=None: F.linear(x, w, b) + 0.1)
    assert linear._agrees() is False


def test_measured_speeds_are_positive():
    speed = measure(8, 16, 16, repeats=1)
    assert speed.plain > 0
    assert speed.fast is None or speed.fast > 0


@pytest.mark.parametrize(
    ("vendor", "width", "used"),
    [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False)],
)
def test_the_vendor_and_the_width_of_vectors_choose(vendor, width, used):
    """oneDNN was measured to win on AMD with AVX-512, and to lose to MKL on AMD with AVX2."""
    enabled, reason = linear._choose("", vendor, width, True, True)
    assert enabled is used
    assert vendor in reason
    assert linear._choose("1", vendor, width, True, True)[0]
    assert not linear._choose("0", vendor, width, True, True)[0]
