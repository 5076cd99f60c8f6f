"""Altered copies of rows, which a method is taught to give the same cluster: one home for tables and for images.

Both kinds are modules without weights. `augment(x)` is the row as it is judged, `augment(x, rng)` an altered copy; all of a
batch is altered at once, and everything random is drawn from `rng`.

- `Tables` adds Gaussian noise and drops values. What leaves a row's meaning as it was is not known for tables in general, as
  it is for pictures: the noise is a guess, and is said in `notes_`.
- `Images` turns, moves, crops and enlarges by one affine map a picture, read off between pixels; what lies beyond the border
  has the border's value. Brightness and contrast change by factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mumei.core.config import at_least, at_most
from mumei.core.errors import UsageError

TABLES: dict[str, Any] = {"noise": 0.3, "dropped": 0.2}
IMAGES: dict[str, Any] = {
    "brightness": 0.0,
    "centre": 1.0,
    "contrast": 0.0,
    "crops": (1.0,),
    "flip": False,
    "rotated": 1.0,
    "rotation": 15.0,
    "shift": 0.1,
    "side": 1.0,
    "zoom": 0.1,
}
DRAWS = 11  # numbers that one altered picture takes: see `maps` and `shaded`


class Tables(nn.Module):
    """Rows with noise.

    Parameters
    ----------
    noise : float
        Deviation of the Gaussian noise, in units of the column's own in the batch.
    dropped : float
        Share of the values, below 1, that are put to the column's mean in the batch.

    Examples
    --------
    >>> augment, x = Tables(noise=0.3, dropped=0.0), torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> augment(x).equal(x), augment(x, torch.Generator().manual_seed(0))[:, 1]
    (True, tensor([5., 5.]))
    """

    def __init__(self, *, noise: float = 0.3, dropped: float = 0.2):
        super().__init__()
        at_least("noise", noise, 0.0)
        _share("dropped", dropped, below=True)
        self.noise, self.dropped = noise, dropped

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return rows (b, d) as they are, or altered."""
        if rng is None:
            return x
        mean, spread = x.mean(0), x.std(0, correction=0)
        noisy = x + self.noise * spread * torch.randn(x.shape, generator=rng, device=x.device)
        kept = torch.rand(x.shape, generator=rng, device=x.device) >= self.dropped
        return torch.where(kept, noisy, mean)

    def said(self) -> str:
        """Return a sentence of what is done."""
        return (
            f"rows are compared with altered copies: Gaussian noise of {self.noise:g} times a column's deviation, and "
            f"{100 * self.dropped:g} % of the values put to the column's mean"
        )


class Images(nn.Module):
    """Pictures out of rows, and altered copies of them. Lengths are shares of the picture's sides.

    Parameters
    ----------
    shape : tuple of int
        (h, w), (h, w, c) or (c, h, w), as the pictures came: see `channels_first`.
    side : float
        Sides of what comes out.
    centre : float
        Sides of the crop around the middle that a picture is judged by.
    crops : sequence of float
        Sides of the altered copy's crop, one of which is drawn; its place is random.
    rotation, rotated : float
        Degrees to either side at most, and the share of copies that are turned.
    zoom, shift : float
        The crop's sides change by factors within 1 - zoom and 1 + zoom; its middle moves by `shift` at most, each way.
    flip : bool
        Half of the copies are mirrored.
    brightness, contrast : float
        Values, and their distances from the picture's mean, change by factors within 1 - b and 1 + b.

    Examples
    --------
    >>> Images((28, 28), side=6 / 7)(torch.zeros(5, 784)).shape
    torch.Size([5, 1, 24, 24])
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        side: float = 1.0,
        centre: float = 1.0,
        crops: Sequence[float] = (1.0,),
        rotation: float = 15.0,
        rotated: float = 1.0,
        zoom: float = 0.1,
        shift: float = 0.1,
        flip: bool = False,
        brightness: float = 0.0,
        contrast: float = 0.0,
    ):
        super().__init__()
        self.came, (c, h, w) = tuple(shape), channels_first(shape)
        at_least("side", side, 0.0, strictly=True)
        at_least("rotation", rotation, 0.0)
        given: Any = crops
        if isinstance(given, str) or not isinstance(given, Sequence) or not given:
            raise UsageError(f"crops={crops!r} is not allowed; give one share of the sides or more.")
        for name, value in {"centre": centre, **{f"crops[{i}]": v for i, v in enumerate(crops)}}.items():
            _share(name, value)
            at_least(name, value, 0.0, strictly=True)
        for name, value in {"rotated": rotated, "shift": shift}.items():
            _share(name, value)
        for name, value in {"zoom": zoom, "brightness": brightness, "contrast": contrast}.items():
            _share(name, value, below=True)
        self.shape = (c, max(1, round(side * h)), max(1, round(side * w)))  # of what comes out
        self.ratio = h / w
        self.centre, self.crops, self.flip = centre, tuple(crops), flip
        self.rotation, self.rotated, self.zoom, self.shift = rotation, rotated, zoom, shift
        self.brightness, self.contrast = brightness, contrast

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return rows (b, pixels) as pictures (b, c, h', w'), as they are judged or altered."""
        images = self.pictures(x)
        if rng is None:
            if self.centre == 1.0 and images.shape[1:] == self.shape:
                return images
            return self.read_off(images, (self.centre * torch.eye(2, 3, device=x.device)).expand(len(x), 2, 3))
        draws = torch.rand((len(x), DRAWS), generator=rng, device=x.device)
        return self.shaded(self.read_off(images, self.maps(draws)), draws[:, 9:])

    def pictures(self, x: Tensor) -> Tensor:
        """Return rows (b, pixels) as pictures (b, c, h, w)."""
        images = x.reshape(len(x), *self.came)
        if len(self.came) == 2:
            return images[:, None]
        return images if channels_first(self.came) == self.came else images.permute(0, 3, 1, 2)

    def read_off(self, images: Tensor, maps: Tensor) -> Tensor:
        """Return pictures (b, c, h', w') whose pixels are read off where maps (b, 2, 3) of [-1, 1]^2 lead."""
        grid = F.affine_grid(maps.to(images.dtype), [len(images), *self.shape], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def maps(self, draws: Tensor) -> Tensor:
        """Return affine maps (b, 2, 3), from a copy's place to its source, for uniform numbers (b, 9 or more).

        A crop of sides s around m is read off by p -> R (s p + m), R a rotation in pixels; the two sides of [-1, 1]^2 may stand
        for different numbers of them.
        """
        signed = 2.0 * draws - 1.0
        sides = torch.tensor(self.crops, device=draws.device)[(draws[:, 0] * len(self.crops)).long()]
        middle = (1.0 - sides)[:, None] * signed[:, 1:3] + 2.0 * self.shift * signed[:, 3:5]
        angle = math.radians(self.rotation) * signed[:, 5] * (draws[:, 6] < self.rotated)
        sides = sides * (1.0 + self.zoom * signed[:, 7])
        mirrored = torch.where(draws[:, 8] < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(sides)
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack([cos, -sin * self.ratio, sin / self.ratio, cos], 1).view(-1, 2, 2)
        scale = torch.stack([sides * mirrored, sides], 1)
        return torch.cat([turn * scale[:, None], turn @ middle[:, :, None]], 2)

    def shaded(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return pictures with other contrast and brightness, by uniform numbers (b, 2)."""
        if not self.contrast and not self.brightness:
            return images
        contrast, brightness = (
            1.0 + most * (2.0 * u - 1.0)[:, None, None, None]
            for most, u in zip((self.contrast, self.brightness), draws.unbind(1), strict=True)
        )
        mean = images.mean((1, 2, 3), keepdim=True)
        return brightness * (mean + contrast * (images - mean))

    def said(self) -> str:
        """Return a sentence of what is done."""
        crops = ", ".join(f"{v:.3g}" for v in self.crops)
        more = ", mirrored at random" if self.flip else ""
        return (
            f"images are compared with altered copies: turned by up to {self.rotation:g} degrees, cropped to {crops} of their "
            f"sides, moved by up to {self.shift:g} of them, enlarged by up to {self.zoom:g}{more}"
        )


def channels_first(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (channels, height, width) of images that came as (h, w), (h, w, c) or (c, h, w).

    Of three numbers the shorter of the first and the last is the channels'; the first, where they are equal.

    Examples
    --------
    >>> channels_first((28, 28)), channels_first((32, 32, 3)), channels_first((3, 96, 96))
    ((1, 28, 28), (3, 32, 32), (3, 96, 96))
    """
    given = tuple(shape)
    if len(given) == 2:
        return (1, given[0], given[1])
    a, b, c = given
    return (a, b, c) if a <= c else (c, a, b)


def make_augmentation(image_shape: Sequence[int] | None, settings: Mapping[str, Any]) -> Tables | Images:
    """Return what alters rows, from the settings named in `TABLES` or `IMAGES`."""
    if image_shape is None:
        return Tables(**{name: settings[name] for name in TABLES})
    return Images(image_shape, **{name: settings[name] for name in IMAGES})


def _share(name: str, value: Any, *, below: bool = False) -> None:
    at_least(name, value, 0.0)
    at_most(name, value, 1.0)
    if below and value >= 1.0:
        raise UsageError(f"{name}={value!r} is not allowed; give a share of at least 0 and below 1.")
