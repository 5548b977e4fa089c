"""BLAS, kept to one thread: more threads change the last bits of sums, and on short vectors they only wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread meanwhile."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with threadpool_limits(1, user_api="blas"):
        yield


def blas_kernels() -> str:
    """The BLAS libraries that are loaded, each with its version and the kernel that it chose for this machine."""
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    parts = ("internal_api", "version", "architecture")
    return ", ".join(sorted({" ".join(str(pool[part]) for part in parts if pool.get(part)) for pool in pools}))


def blas_libraries() -> list[dict[str, Any]]:
    """The BLAS libraries of NumPy and SciPy, loaded for this where they were not: version, kernel and threads of each."""
    import numpy as np
    import scipy.linalg  # each of the two brings a library of its own
    from threadpoolctl import threadpool_info

    del np, scipy
    parts = {"internal_api": "library", "version": "version", "architecture": "kernel", "num_threads": "threads"}
    found = [
        {name: pool.get(part) for part, name in parts.items()}
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return sorted(found, key=lambda one: tuple(map(str, one.values())))
