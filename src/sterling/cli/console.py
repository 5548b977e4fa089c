"""How commands speak: tables for people, JSON for programs, progress for long work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sterling.runner import Observer, Progress


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, 80 columns where there is none."""
    from rich.console import Console

    plain = Console(stderr=stderr, highlight=False)
    return plain if plain.is_terminal else Console(stderr=stderr, highlight=False, width=80, soft_wrap=False)


def show(what: RenderableType) -> None:
    """Print something for people."""
    console().print(what)


def print_json(value: object) -> None:
    """Print something for programs."""
    json.dump(_plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@contextmanager
def progress(*, quiet: bool = False, brief: bool = False) -> Iterator[Observer]:
    """Show the steps of a run while it runs, on the standard error.

    Args:
        quiet: Show nothing.
        brief: Keep one line in the end instead of one for each step.
    """
    if quiet:
        from sterling.runner import ignore

        yield ignore
        return
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    screen = console(stderr=True)
    cached: list[str] = []
    ran: list[float] = []
    with Live(Text(), console=screen, transient=True, refresh_per_second=10) as live:

        def observe(step: Progress) -> None:
            match step.state:
                case "started":
                    live.update(Spinner("dots", text=Text(f"{step.title} …")))
                case "ran":
                    live.update(Text())
                    ran.append(step.seconds)
                    if not brief:
                        screen.print(f"  [green]✓[/] {_fitted(step.title)}{step.seconds:>7.1f} s")
                case "cached":
                    cached.append(step.title)
                case "failed":
                    live.update(Text())
                    screen.print(f"  [red]✗[/] {_fitted(step.title)}")

        yield observe
    if brief:
        screen.print(f"  [green]✓[/] {_fitted(f'{len(ran)} steps')}{sum(ran):>7.1f} s")
    if cached:
        screen.print(f"  [dim]✓ {len(cached)} steps answered from the ledger[/]")


def _fitted(title: str) -> str:
    """A title in 60 columns, its brackets safe from being read as a style."""
    from rich.markup import escape

    return escape(f"{title if len(title) <= 60 else f'{title[:57]}…':<62}")
