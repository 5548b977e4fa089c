"""Trees of any library as arrays: computed with numpy, so that what is served needs no more than that.

A row starts at node 0 of each tree and goes left or right until it comes to a leaf, whose value it takes. Values are
added in the order of the trees, in the library's own precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sterling.core.errors import InvalidDefinitionError
from sterling.models.answers import Answers
from sterling.models.columns import Column, Matrix
from sterling.models.predictors import Probabilities

LEAF = -1
_AT_ONCE = 1 << 16
"""Rows times trees that are walked together."""


class Tree(NamedTuple):
    """One tree; a list has an item for each node, and children come after their parent."""

    feature: tuple[int, ...]
    """Column that a node looks at; 0 in a leaf."""
    threshold: tuple[float, ...]
    """What it is compared with; 0 in a leaf."""
    left: tuple[int, ...]
    """Node that follows where the comparison holds; `LEAF` in a leaf."""
    right: tuple[int, ...]
    """Node that follows where it does not; `LEAF` in a leaf."""
    missing_left: tuple[bool, ...]
    """Whether a missing value goes left."""
    value: tuple[float, ...]
    """What a leaf adds; 0 in other nodes."""
    sets: tuple[tuple[int, ...] | None, ...]
    """Categories that go right, where a node looks at a category; None where it compares."""


@dataclass(frozen=True)
class Forest:
    """Trees whose values are added.

    Attributes:
        trees: The trees.
        single: Whether values are compared and added in single precision.
        strict: Whether x < threshold goes left, else x <= threshold.
        base: What the sum starts from.
        link: ``logit`` where the sum is log odds; ``mean`` where it is divided by the number of trees, and a probability;
            ``sum`` and ``average`` where the sum, or that quotient, is a number.

    Example:
        >>> stump = Tree((0, 0, 0), (2.0, 0, 0), (1, -1, -1), (2, -1, -1), (True, False, False), (0, 0.25, 0.75), (None,) * 3)
        >>> Forest((stump,), single=False, strict=True, base=0.0, link="mean").predict(np.array([[1.0], [2.0], [np.nan]]))
        array([0.25, 0.75, 0.25])
    """

    trees: tuple[Tree, ...]
    single: bool
    strict: bool
    base: float
    link: Literal["logit", "mean", "sum", "average"]
    outputs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.trees:
            raise InvalidDefinitionError("A Forest has one tree at least.")
        object.__setattr__(self, "trees", tuple(_checked(tree) for tree in self.trees))
        object.__setattr__(self, "base", float(self.base))

    @property
    def answers(self) -> Answers:
        """What they answer with."""
        return "number" if self.link in {"sum", "average"} else "probability"

    def predict(self, matrix: Matrix) -> Probabilities:
        """Answer to each row."""
        found = self.sums(matrix).astype(np.float64)
        if self.link == "sum":
            return found
        if self.link in {"mean", "average"}:
            return found / len(self.trees)
        tail = np.exp(-np.abs(found))
        probabilities: Probabilities = np.where(found >= 0, 1.0, tail) / (1.0 + tail)
        return probabilities

    def sums(self, matrix: Matrix) -> NDArray[Any]:
        """The sum of each row, shape (rows,), in the forest's precision."""
        kind = np.float32 if self.single else np.float64
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(matrix, dtype=kind)
        step = max(1, _AT_ONCE // len(self.trees))
        parts = [self._walked(values[start : start + step]) for start in range(0, len(values), step)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=kind)

    def check(self, columns: Sequence[Column]) -> None:
        """Refuse columns that the trees were not made for."""
        if (most := max(max(tree.feature) for tree in self.trees)) >= len(columns):
            raise InvalidDefinitionError(f"The forest reads column {most} of {len(columns)}.")

    def document(self) -> dict[str, Any]:
        """The predictor as JSON."""
        return {
            "type": "forest", "single": self.single, "strict": self.strict, "base": self.base, "link": self.link,
            "trees": [{name: list(items) for name, items in tree._asdict().items()} for tree in self.trees],
        }  # fmt: skip

    def _walked(self, values: NDArray[Any]) -> NDArray[Any]:
        nodes = self._nodes
        flat, first = values.ravel(), (np.arange(len(values)) * values.shape[1])[:, np.newaxis]
        at = np.repeat(nodes.roots[np.newaxis], len(values), axis=0)
        for _ in range(nodes.depth):
            x, limit = flat.take(nodes.feature.take(at) + first), nodes.threshold.take(at)
            goes_left = x < limit if self.strict else x <= limit
            missing = np.isnan(x)
            np.copyto(goes_left, nodes.missing_left.take(at), where=missing)
            if len(nodes.members):
                places = nodes.set_of.take(at)
                known = (places >= 0) & ~missing
                codes = np.clip(x[known], 0, nodes.members.shape[1] - 1).astype(np.int64)
                goes_left[known] = ~nodes.members[places[known], codes]
            at = nodes.next.take(2 * at + goes_left)
        start = np.full((len(values), 1), self.base, dtype=values.dtype)
        sums: NDArray[Any] = np.cumsum(np.hstack([start, nodes.value.take(at)]), axis=1, dtype=values.dtype)[:, -1]
        return sums

    @cached_property
    def _nodes(self) -> _Nodes:
        return _nodes(self.trees, np.float32 if self.single else np.float64)


def forest_from(document: Mapping[str, Any]) -> Forest:
    """Read what `Forest.document` wrote."""
    trees = tuple(
        Tree(**{name: tuple(tree[name]) for name in Tree._fields if name != "sets"}, sets=_sets(tree["sets"]))
        for tree in document["trees"]
    )
    return Forest(trees, document["single"], document["strict"], document["base"], document["link"])


class _Nodes(NamedTuple):
    """All trees one after the other; a leaf leads to itself."""

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[Any]
    next: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    value: NDArray[Any]
    set_of: NDArray[np.int64]
    members: NDArray[np.bool_]
    depth: int


def _nodes(trees: Sequence[Tree], kind: type[np.floating[Any]]) -> _Nodes:
    sizes = [len(tree.feature) for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    own = np.arange(sum(sizes))
    offsets = np.repeat(roots, sizes)

    def joined(name: str, dtype: Any) -> NDArray[Any]:
        return np.concatenate([np.array(getattr(tree, name), dtype=dtype) for tree in trees])

    left, right = joined("left", np.int64), joined("right", np.int64)
    leaves = left == LEAF
    follows = [np.where(leaves, own, side + offsets) for side in (left, right)]
    sets = [found for tree in trees for found in tree.sets]
    named = [found for found in sets if found is not None]
    members = np.zeros((len(named), 1 + max((max(found, default=0) for found in named), default=0) + 1), dtype=np.bool_)
    for place, found in enumerate(named):
        members[place, list(found)] = True
    numbers = np.cumsum([found is not None for found in sets]) - 1
    return _Nodes(
        roots, joined("feature", np.int64), joined("threshold", kind), np.stack([follows[1], follows[0]], axis=1).ravel(),
        joined("missing_left", np.bool_), joined("value", kind),
        np.where([found is not None for found in sets], numbers, -1), members, max(map(_depth, trees)),
    )  # fmt: skip


def _depth(tree: Tree) -> int:
    depths = [0] * len(tree.left)
    for node, (left, right) in enumerate(zip(tree.left, tree.right, strict=True)):
        if left != LEAF:
            depths[left] = depths[right] = depths[node] + 1
    return max(depths)


def _checked(tree: Tree) -> Tree:
    sizes = {len(part) for part in tree}
    if len(sizes) != 1 or not sizes.pop():
        raise InvalidDefinitionError("The parts of a tree are not of one length, or empty.")
    count = len(tree.left)
    for node, (left, right) in enumerate(zip(tree.left, tree.right, strict=True)):
        if (left, right) != (LEAF, LEAF) and not (node < left < count and node < right < count):
            raise InvalidDefinitionError(f"Node {node} of a tree leads to {left} and {right}, which do not follow it.")
    floats = (*tree.threshold, *tree.value)
    if not np.isfinite(floats).all() or min(tree.feature) < 0:
        raise InvalidDefinitionError("A number of a tree is not finite, or a feature below 0.")
    return Tree(
        tuple(map(int, tree.feature)), tuple(map(float, tree.threshold)), tuple(map(int, tree.left)),
        tuple(map(int, tree.right)), tuple(map(bool, tree.missing_left)), tuple(map(float, tree.value)), _sets(tree.sets),
    )  # fmt: skip


def _sets(sets: Sequence[Sequence[int] | None]) -> tuple[tuple[int, ...] | None, ...]:
    return tuple(None if found is None else tuple(sorted(map(int, found))) for found in sets)
