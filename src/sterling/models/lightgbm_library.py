"""LightGBM's shared library by ctypes: predictions without importing `lightgbm`, which drags in pandas and scikit-learn.

References:
    LightGBM, include/LightGBM/c_api.h, version 4.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import weakref
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import DataError, MissingExtraError
from sterling.core.processors import available_threads

_FLOAT64, _ROW_MAJOR, _PROBABILITY, _CONTRIBUTIONS, _FROM_FIRST, _ALL_TREES = 1, 1, 0, 3, 0, -1
_MANY_ROWS = 10_000


class Booster:
    """A booster that predicts.

    One row takes LightGBM's fast path, with its buffers made once; use a booster from one thread at a time.

    Args:
        text: A model in LightGBM's text format.

    Raises:
        DataError: if LightGBM cannot read the text.
    """

    def __init__(self, text: str) -> None:
        self._library = _library()
        self._handle = ctypes.c_void_p()
        iterations = ctypes.c_int()
        self._call(
            "LGBM_BoosterLoadModelFromString", text.encode(), ctypes.byref(iterations), ctypes.byref(self._handle)
        )
        weakref.finalize(self, self._library.LGBM_BoosterFree, self._handle)
        self.features = self._count("LGBM_BoosterGetNumFeature")
        self.outputs = self._count("LGBM_BoosterGetNumClasses")
        self._row = np.empty(self.features, dtype=np.float64)
        self._answer = np.empty(self.outputs, dtype=np.float64)
        self._length = ctypes.c_int64()
        self._fast = self._fast_config()

    def predict(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Output of each row of a matrix of shape (rows, features): shape (rows,), or (rows, outputs) where there are several."""
        if matrix.shape[1] != self.features:
            raise DataError(f"The LightGBM model reads {self.features} features; the rows have {matrix.shape[1]}.")
        found = self._predict_row(matrix[0]) if len(matrix) == 1 else self._predict_rows(matrix)
        return found if self.outputs == 1 else found.reshape(len(matrix), self.outputs)

    def _predict_row(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        self._row[:] = row
        self._call(
            "LGBM_BoosterPredictForMatSingleRowFast", self._fast, _address(self._row), ctypes.byref(self._length),
            _address(self._answer),
        )  # fmt: skip
        return self._answer.copy()

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the sum of each row, and last the base: exact TreeSHAP by LightGBM.

        Args:
            matrix: Shape (rows, features).

        Returns:
            Shape (rows, outputs * (features + 1)); each row sums to the trees' sum, log odds or a number, by output.
        """
        if matrix.shape[1] != self.features:
            raise DataError(f"The LightGBM model reads {self.features} features; the rows have {matrix.shape[1]}.")
        answers = np.empty((len(matrix), self.outputs * (self.features + 1)), dtype=np.float64)
        self._answer_rows(matrix, _CONTRIBUTIONS, answers)
        return answers

    def _predict_rows(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        answers = np.empty(len(matrix) * self.outputs, dtype=np.float64)
        self._answer_rows(matrix, _PROBABILITY, answers)
        return answers

    def _answer_rows(self, matrix: NDArray[np.float64], what: int, answers: NDArray[np.float64]) -> None:
        values = np.ascontiguousarray(matrix, dtype=np.float64)
        if not len(values):
            return
        threads = available_threads() if answers.size >= _MANY_ROWS else 1
        self._call(
            "LGBM_BoosterPredictForMat", self._handle, _address(values), _FLOAT64, ctypes.c_int32(len(values)),
            ctypes.c_int32(self.features), _ROW_MAJOR, what, _FROM_FIRST, _ALL_TREES,
            f"num_threads={threads}".encode(), ctypes.byref(self._length), _address(answers),
        )  # fmt: skip

    def _fast_config(self) -> ctypes.c_void_p:
        config = ctypes.c_void_p()
        self._call(
            "LGBM_BoosterPredictForMatSingleRowFastInit", self._handle, _PROBABILITY, _FROM_FIRST, _ALL_TREES, _FLOAT64,
            ctypes.c_int32(self.features), b"num_threads=1", ctypes.byref(config),
        )  # fmt: skip
        weakref.finalize(self, self._library.LGBM_FastConfigFree, config)
        return config

    def _count(self, function: str) -> int:
        count = ctypes.c_int()
        self._call(function, self._handle, ctypes.byref(count))
        return count.value

    def _call(self, function: str, *arguments: object) -> None:
        if getattr(self._library, function)(*arguments) != 0:
            raise DataError(f"LightGBM: {self._library.LGBM_GetLastError().decode(errors='replace')}")


def let_waiting_threads_sleep() -> None:
    """Tell OpenMP not to spin, which costs a factor of 20 where the processors are shared; before it is loaded."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@cache
def _library() -> ctypes.CDLL:
    let_waiting_threads_sleep()
    library = ctypes.CDLL(str(_library_path()))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _library_path() -> Path:
    spec = importlib.util.find_spec("lightgbm")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        for name in ("lib/lib_lightgbm.so", "lib/lib_lightgbm.dylib", "bin/lib_lightgbm.dll", "lib/lib_lightgbm.dll"):
            if (path := Path(folder, name)).is_file():
                return path
    raise MissingExtraError("LightGBM's shared library is not there. Install it with: pip install lightgbm")


def _address(array: NDArray[np.float64]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
