"""Upper quantiles of the normal and of Student's t; scipy is loaded when one is asked for, since it takes long."""

from __future__ import annotations

from statistics import NormalDist


def normal_quantile(tail: float) -> float:
    """The value that a standard normal exceeds with probability ``tail``, in (0, 1).

    Example:
        >>> round(normal_quantile(0.025), 4)
        1.96
    """
    return -NormalDist().inv_cdf(tail)


def student_quantile(tail: float, freedom: float) -> float:
    """The value that Student's t exceeds with probability ``tail``, in (0, 1).

    Args:
        tail: Probability.
        freedom: Degrees of freedom, positive; need not be whole.

    Example:
        >>> round(student_quantile(0.05, 29), 4)
        1.6991
    """
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, tail))
