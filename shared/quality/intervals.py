"""The 95 % interval of a share. Pure."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # two-sided 95 % point of the normal distribution


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927, score interval).

    `n`: how many answers it is the share of, or for weighted answers as many as would say as much; above 0.
    Right for small numbers too: 3 of 3 is 0.44 to 1, not 1 to 1.
    """
    z2 = Z_95 * Z_95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # rounding aside, it holds the share
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
