"""Guardrails as they stand: what each says of the version on its way, and on how much of the planned sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sterling.views.text import MINUS, number, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

State = Literal["breached", "held", "open", "unseen"]

_WORDS = {"breached": "breached", "held": "holds", "open": "not yet", "unseen": "nothing seen"}


class Judged(NamedTuple):
    """What one guardrail says.

    Attributes:
        guardrail: Its name, such as ``errors``.
        direction: Which change is harm: ``no higher``, ``no lower`` or ``no other``.
        margin: From which change on it is harm, in the unit of the change.
        unit: What changes are counted in: ``share`` of the live version's value, ``deviations``, or ``distance``.
        live: What was seen of the live version, or None.
        version: What was seen of the version on its way, or None.
        change: From the one to the other, or None.
        low: Lower bound of the change, true at every look; None where there is none.
        high: Upper bound of it, or None.
        error_rate: What each bound may err, over all looks.
        rows: Requests of both, or pairs of answers, that it was judged on.
        planned: How many it takes to find a change of the margin.
        effect: How many times more requests it takes since those of a unit go together.
        state: ``breached``, ``held`` (on the planned sample), ``open``, or ``unseen`` where nothing was counted.
    """

    guardrail: str
    direction: str
    margin: float
    unit: str
    live: float | None
    version: float | None
    change: float | None
    low: float | None
    high: float | None
    error_rate: float
    rows: int
    planned: int | None
    effect: float
    state: State


def judged_from(body: Mapping[str, Any]) -> tuple[Judged, ...]:
    """What a ``guardrails.judged`` entry says of each guardrail."""
    return tuple(Judged(**one) for one in body["guardrails"])


def verdict(found: Iterable[Judged]) -> Literal["breached", "held", "open"]:
    """What all of them say: one that is breached decides, and without evidence nothing is held.

    Example:
        >>> verdict([])
        'open'
    """
    states = {one.state for one in found}
    if "breached" in states:
        return "breached"
    return "held" if states == {"held"} else "open"


def said(one: Judged) -> str:
    """One guardrail in words.

    Example:
        >>> said(Judged("errors", "no higher", 1.0, "share", 0.005, 0.05, 9.0, 4.2, None, 0.01, 900, 4_000, 1.0, "breached"))
        'errors 0.500 % → 5.00 %, +900 % (at least +420 %; the margin is +100 %)'
    """
    live, version = (shown(one, value) for value in (one.live, one.version))
    bound = _bound(one)
    sure = f"{'at least' if _is_up(one) else 'at most'} {bound}; " if bound else ""
    seen = f"{live} → {version}, " if one.live is not None else ""
    return f"{one.guardrail} {seen}{changed(one, one.change)} ({sure}the margin is {_margin(one)})"


def render(found: Sequence[Judged]) -> RenderableType:
    """Guardrails for a terminal, 80 columns wide at most."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for name in ("guardrail", "live", "version", "change", "at least", "margin", "sample", ""):
        table.add_column(name, justify="left" if name in {"guardrail", ""} else "right", no_wrap=True)
    for one in found:
        cells = (
            one.guardrail, shown(one, one.live), shown(one, one.version), changed(one, one.change), _bound(one) or "–",
            _margin(one), _sample(one),
        )  # fmt: skip
        style = "bold red" if one.state == "breached" else ""
        table.add_row(*map(Text, cells), Text(_WORDS[one.state], style=style))
    return table


def shown(one: Judged, value: float | None) -> str:
    """A value of what a guardrail looks at."""
    if value is None:
        return "–"
    if one.guardrail in {"latency", "cost"}:
        return f"{number(value)} ms"
    return percent(value) if one.guardrail in {"errors", "decision rate"} else number(value)


def changed(one: Judged, value: float | None) -> str:
    """A change in its own unit."""
    if value is None:
        return "–"
    if one.unit == "share":
        return f"{number(100 * value, signed=True)} %"
    return f"{number(value, signed=True)} sd" if one.unit == "deviations" else number(value)


def _is_up(one: Judged) -> bool:
    return (one.change or 0.0) >= 0


def _bound(one: Judged) -> str | None:
    """The bound on the side of the change, where it leaves no doubt that there is one."""
    bound = one.low if _is_up(one) else one.high
    sure = bound is not None and (bound > 0 if _is_up(one) else bound < 0)
    return changed(one, bound) if sure else None


def _margin(one: Judged) -> str:
    sign = {"no higher": "+", "no lower": MINUS, "no other": "" if one.unit == "distance" else "±"}[one.direction]
    value, unit = (100 * one.margin, " %") if one.unit == "share" else (one.margin, "")
    return f"{sign}{value:g}{' sd' if one.unit == 'deviations' else unit}"


def _sample(one: Judged) -> str:
    return f"{one.rows:,}" if one.planned is None else percent(min(1.0, one.rows / one.planned))
