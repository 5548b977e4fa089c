"""The command line: thin commands over the lifecycle and the views; what they need is imported when they run."""

from __future__ import annotations

import sys
import traceback
from functools import cache
from importlib import import_module

import typer

_INTERRUPTED = 130
_FAULT = 70
_GROUPS = (
    "project", "release", "operate", "serve", "score", "evidence", "reproduction", "features", "leaks", "evaluation", "integrity",
    "data", "chains", "team",
)  # fmt: skip
_HURRIED = {"pause": "release", "promote": "release", "rollback": "release"}
"""Commands for which nobody waits until those of other groups are loaded."""

app: typer.Typer
"""Every command."""


@cache
def _app(*groups: str) -> typer.Typer:
    made = typer.Typer(
        name="sterling",
        help="Runs the whole life of a production model, and proves every claim that it makes about it.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for group in groups:
        import_module(f"sterling.cli.{group}").add_to(made)
    return made


def __getattr__(name: str) -> object:
    if name == "app":
        return _app(*_GROUPS)
    raise AttributeError(f"module 'sterling.cli' has no attribute {name!r}")


def main() -> None:
    """Run a command: exit with 0 where all is well, 1 where the verdict is no, 2 for wrong usage or input, 70 for a fault."""
    from sterling.core.errors import RefusedError, SterlingError

    hurried = _HURRIED.get(next(iter(sys.argv[1:]), ""))
    try:
        _app(*([hurried] if hurried else _GROUPS))()
    except RefusedError as error:
        print(f"sterling: {error}", file=sys.stderr)
        sys.exit(1)
    except SterlingError as error:
        print(f"sterling: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"sterling: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}.", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print(
                "sterling: stopped. What was completed is on record; the next run continues from there.",
                file=sys.stderr,
            )
        raise
    except Exception:  # noqa: BLE001  whatever it is, its exit code must not be read as a verdict
        traceback.print_exc()
        print(
            "sterling: this is a fault of Sterling's or of the project's own code; please report the former.",
            file=sys.stderr,
        )
        sys.exit(_FAULT)
