"""Errors that people read: what is wrong with which value, and what would work."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SterlingError(Exception):
    """Base of all errors that a user can cause and mend; the command line prints it as one line and exits with 2."""


class InvalidDefinitionError(SterlingError, ValueError):
    """A definition says something that cannot be meant."""


class NotKnownAtPredictionError(InvalidDefinitionError):
    """A feature reads a column that is not known when the prediction is made."""


class UnknownBackendError(SterlingError, ValueError):
    """No adapter answers to a URL's scheme."""


class MissingExtraError(SterlingError, ImportError):
    """An optional dependency is needed and is not installed."""


class ConflictError(SterlingError):
    """Evidence was recorded after what a decision was based on."""


class RefusedError(SterlingError):
    """A decision is no: the evidence that it needs is not on record; the command line exits with 1."""


class StorageError(SterlingError):
    """A ledger or a store cannot be opened, read or written where it lies."""


class NotAllowedError(StorageError):
    """Whoever asks may not do this; somebody else may."""


class BusyError(SterlingError):
    """Something else is under way, and this must not happen beside it."""


class NewerKindError(SterlingError):
    """An entry was recorded by a later version of Sterling, which says more than this one can read."""


class TamperedLedgerError(SterlingError):
    """An entry or a blob is not what its digest says.

    Args:
        message: What is wrong, as a sentence.
        position: Position of the entry, 0 where it is not known.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class SignatureError(SterlingError):
    """A signed text is not signed by whom it must be, or is none."""


class MissingBlobError(SterlingError, KeyError):
    """The store does not hold the bytes of a ref."""

    __str__ = Exception.__str__


class ErasedError(MissingBlobError):
    """The bytes of a ref were erased, since they held data of a person."""


class DataError(SterlingError, ValueError):
    """Data break a rule that the project declares or that time and identity impose."""


class StageFailedError(SterlingError):
    """A stage raised; its log is in the store."""


def nearest(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """The known names that a misspelt one most likely meant, ready to end a sentence.

    Example:
        >>> nearest("dep_dlay", ["dep_delay", "arr_delay", "origin"])
        "Did you mean 'dep_delay'?"
        >>> nearest("x", ["origin", "dest"])
        'Known: dest, origin.'
    """
    names = sorted(set(known))
    close = get_close_matches(name, names, n=limit, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"Known: {', '.join(names) or 'none'}."
