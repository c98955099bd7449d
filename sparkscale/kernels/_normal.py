"""The standard normal distribution, between the probabilities 1e-7 and 1 - 1e-7."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

__all__ = ["LIMIT", "PROBABILITY", "cdf", "quantile"]

Ratio = tuple[Sequence[float], Sequence[float]]  # the coefficients of two polynomials, from the highest power down

PROBABILITY = 1e-7  # scikit-learn clips to the values of this probability and its complement

# M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37 (1988).
HALF, CENTER, SHIFT = 0.425, 0.180625, 1.6
CENTRAL: Ratio = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
TAIL: Ratio = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969).
NEAR = 0.67448975
BODY: Ratio = (
    (
        6.5682337918207449113e-2,
        2.2352520354606839287e0,
        1.6102823106855587881e2,
        1.0676894854603709582e3,
        1.8154981253343561249e4,
    ),
    (1.0, 4.720258190468824187e1, 9.7609855173777669322e2, 1.0260932208618978205e4, 4.5507789335026729956e4),
)
FAR: Ratio = (
    (
        1.0765576773720192317e-8,
        3.9894151208813466764e-1,
        8.8831497943883759412e0,
        9.3506656132177855979e1,
        5.9727027639480026226e2,
        2.4945375852903726711e3,
        6.8481904505362823326e3,
        1.1602651437647350124e4,
        9.8427148383839780218e3,
    ),
    (
        1.0,
        2.2266688044328115691e1,
        2.3538790178262499861e2,
        1.519377599407554805e3,
        6.485558298266760755e3,
        1.8615571640885098091e4,
        3.4900952721145977266e4,
        3.8912003286093271411e4,
        1.9685429676859990727e4,
    ),
)


def ratio(x: Any, coefficients: Ratio) -> Any:
    """Return the ratio of two polynomials."""
    above, below = (reduce(lambda value, c: value * x + c, rest, first) for first, *rest in coefficients)
    return above / below


def quantile(xp: Any, p: Any) -> Any:
    """Return the value of each probability, of those from ``PROBABILITY`` to its complement."""
    q = p - 0.5
    tail = xp.sqrt(-xp.log(xp.where(q < 0, p, 1.0 - p)))
    far = ratio(tail - SHIFT, TAIL)
    return xp.where(xp.abs(q) <= HALF, q * ratio(CENTER - q * q, CENTRAL), xp.where(q < 0, -far, far))


def cdf(xp: Any, x: Any) -> Any:
    """Return the probability of each value, of those up to 5.6 from 0."""
    size, square = xp.abs(x), x * x
    beyond = xp.exp(-0.5 * square) * ratio(size, FAR)
    return xp.where(size <= NEAR, 0.5 + x * ratio(square, BODY), xp.where(x < 0, beyond, 1.0 - beyond))


LIMIT = float(-quantile(np, np.float64(PROBABILITY)))
"""The value of the probability ``1 - PROBABILITY``."""
