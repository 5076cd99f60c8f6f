"""A budget in FLOPs, in GPU-hours at a utilisation, or in money; peaks of common accelerators (dense, bfloat16)."""

from __future__ import annotations

from dataclasses import dataclass

from mumei.core.errors import UsageError, unknown
from mumei.scaling.laws import positive

# FLOP/s, dense bfloat16 (float16 on a V100), from the makers' data sheets.
PEAKS = {
    "a100": 312e12,
    "a10g": 70e12,
    "b200": 2250e12,
    "h100": 989e12,
    "h200": 989e12,
    "l4": 121e12,
    "l40s": 362e12,
    "mi300x": 1307e12,
    "rtx4090": 165e12,
    "tpu-v4": 275e12,
    "tpu-v5e": 197e12,
    "v100": 125e12,
}
MFU = 0.4


@dataclass(frozen=True)
class Budget:
    """Training FLOPs, and how they were come by.

    Parameters
    ----------
    flops : float
    gpu_hours : float or None
    said : str
        In words.
    peak : float or None
        FLOP/s of one accelerator; None where none was named.
    mfu : float
        Share of the peak that a training run gets.
    """

    flops: float
    said: str
    gpu_hours: float | None = None
    peak: float | None = None
    mfu: float = MFU

    def hours(self, flops: float) -> float | None:
        """Return accelerator-hours of some FLOPs; None where no accelerator was named."""
        return flops / (3600 * self.peak * self.mfu) if self.peak else None


def budget(
    flops: float | None = None,
    *,
    gpu: str | None = None,
    hours: float | None = None,
    mfu: float = MFU,
    money: float | None = None,
    price: float | None = None,
) -> Budget:
    """Return a budget from one of three: `flops`; `gpu` and `hours`; `gpu`, `money` and `price`.

    Parameters
    ----------
    flops : float, optional
        Training FLOPs.
    gpu : str, optional
        h100, a100 and others; or a peak in FLOP/s as a number.
    hours : float, optional
        Accelerator-hours over all of them together.
    mfu : float
        Model FLOPs utilisation, 0 to 1.
    money, price : float, optional
        To spend, and of one accelerator-hour.

    Raises
    ------
    UsageError
        None or several of them are given, or something that one needs is not.

    Examples
    --------
    >>> f"{budget(gpu='h100', hours=1000, mfu=0.4).flops:.3e}"
    '1.424e+21'
    """
    given = [name for name, value in (("flops", flops), ("hours", hours), ("money", money)) if value is not None]
    if len(given) != 1:
        shown = " and ".join(given) if given else "none"
        raise UsageError(f"a budget is one of flops, hours or money, and {shown} was given. For example --flops 1e21.")
    if not 0 < mfu <= 1:
        raise UsageError(
            f"mfu is {mfu}; give the share of the peak that training gets, above 0 and up to 1, such as 0.4."
        )
    peak = _peak(gpu) if gpu is not None else None
    if flops is not None:
        positive(flops=flops)
        found = Budget(float(flops), f"{flops:.3g} FLOPs", None, peak, mfu)
        return Budget(found.flops, found.said, found.hours(found.flops), peak, mfu)
    if peak is None:
        raise UsageError(f"{given[0]} need an accelerator: give gpu, one of {', '.join(PEAKS)}, or its peak in FLOP/s.")
    said = f"at {mfu:.0%} of {gpu}'s peak ({peak:.3g} FLOP/s)"
    if hours is not None:
        positive(hours=hours)
        return Budget(3600 * hours * peak * mfu, f"{hours:,.4g} hours {said}", hours, peak, mfu)
    if price is None or money is None:
        raise UsageError("money needs the price of an accelerator-hour: give price, such as 2.5.")
    positive(money=money, price=price)
    hours = money / price
    return Budget(3600 * hours * peak * mfu, f"{money:,.6g} at {price:g} an hour, {said}", hours, peak, mfu)


def _peak(gpu: str) -> float:
    name = gpu.strip().lower()
    if name in PEAKS:
        return PEAKS[name]
    try:
        peak = float(name)
    except ValueError:
        raise unknown("accelerator", gpu, PEAKS) from None
    positive(peak=peak)
    if peak < 1e9:
        raise UsageError(
            f"an accelerator of {peak:g} FLOP/s is too slow to be one; give its peak in FLOP/s, such as 989e12."
        )
    return peak
