"""What can go wrong with a model's input: columns that are gone, noisy, in another unit, out of range or unheard of."""

from __future__ import annotations

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition


class Missing(Definition, frozen=True):
    """Features have no value, and so have those that are computed from them.

    Args:
        of: A feature, a view or a source.
    """

    of: str


class Noise(Definition, frozen=True):
    """Numbers with normal noise.

    Args:
        of: A feature, a view or a source; None for all numbers.
        share: Standard deviation of the noise as a share of each number's own, above 0.
    """

    of: str | None = None
    share: float = 0.1

    def check(self) -> None:
        """Refuse no noise."""
        if self.share <= 0:
            raise InvalidDefinitionError(f"Noise.share is {self.share}. It is above 0.")


class Scaled(Definition, frozen=True):
    """Numbers in another unit.

    Args:
        of: A feature, a view or a source.
        by: What they are multiplied by: 1000 for grams that were kilograms, 0.3048 for metres that were feet.
    """

    of: str
    by: float = 1000.0

    def check(self) -> None:
        """Refuse a factor that changes nothing."""
        if self.by == 1:
            raise InvalidDefinitionError("Scaled.by is 1, which changes nothing.")


class OutOfRange(Definition, frozen=True):
    """Numbers beyond what training saw.

    Args:
        of: A feature, a view or a source; None for all numbers.
        times: How many times the largest magnitude, above 1.
    """

    of: str | None = None
    times: float = 10.0

    def check(self) -> None:
        """Refuse what lies in range."""
        if self.times <= 1:
            raise InvalidDefinitionError(f"OutOfRange.times is {self.times}. It is above 1.")


class Unseen(Definition, frozen=True):
    """Categories that training never saw.

    Args:
        of: A feature, a view or a source; None for all categories.
    """

    of: str | None = None


Perturbation = Missing | Noise | Scaled | OutOfRange | Unseen


def perturbation_title(perturbation: Perturbation) -> str:
    """A perturbation as people read it.

    Example:
        >>> perturbation_title(Scaled("weather", by=0.3048)), perturbation_title(Noise())
        ('weather × 0.3048', '10 % noise in all numbers')
    """
    match perturbation:
        case Missing():
            return f"{perturbation.of} missing"
        case Noise():
            return f"{100 * perturbation.share:g} % noise in {perturbation.of or 'all numbers'}"
        case Scaled():
            return f"{perturbation.of} × {perturbation.by:g}"
        case OutOfRange():
            return f"{perturbation.of or 'all numbers'} at {perturbation.times:g} times the largest"
        case Unseen():
            return f"unseen values in {perturbation.of or 'all categories'}"
