"""How sure a preset is: the covariance of Besiroglu's coefficients, from 4,000 resamples of Hoffmann's 240 runs by this package.

`benchmarks/scaling.py` and `tests/scaling/test_plan.py` make it anew. In centred logarithms, where a normal law holds well:
intervals of the optimal size at 5.76e23 FLOPs are 47 to 109 billion by it and 50 to 115 by the resamples themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mumei.core.seeds import numpy_generator
from mumei.scaling.laws import BESIROGLU, Chinchilla
from mumei.scaling.objective import Design
from mumei.scaling.uncertainty import Bootstrap, with_exponent

CENTRE = (20.55928258, 23.55323136)  # mean log N and log D of the 240 runs
THETA = (-0.97283052, -0.97431443, 0.59711201, 0.34781307, 0.36585416)  # a, b, e, alpha, beta there
COVARIANCE = (
    (3.77270e-03, -1.45304e-03, -5.00288e-04, -9.62942e-04, 3.96484e-04),
    (-1.45304e-03, 4.34230e-03, -5.42353e-04, 3.22914e-04, -1.35094e-03),
    (-5.00288e-04, -5.42353e-04, 2.10679e-04, 1.36666e-04, 1.78470e-04),
    (-9.62942e-04, 3.22914e-04, 1.36666e-04, 2.52431e-04, -8.93795e-05),
    (3.96484e-04, -1.35094e-03, 1.78470e-04, -8.93795e-05, 4.32715e-04),
)
DRAWS = 4000


def resamples_of(law: Any) -> Bootstrap | None:
    """Return draws of a preset's coefficients; None for a law whose covariance is not known."""
    if not isinstance(law, Chinchilla) or law != BESIROGLU:
        return None
    empty: Any = np.zeros(0)
    drawn = numpy_generator(0, "scaling", "besiroglu").multivariate_normal(THETA, np.array(COVARIANCE), DRAWS)
    return Bootstrap(with_exponent(Design(empty, empty, empty, CENTRE).coefficients(drawn)))
