"""The command line: thin commands over the lifecycle and the views; what they need is imported when they run."""

from __future__ import annotations

import sys
import traceback

import typer

from sterling.cli import (
    chains,
    data,
    evaluation,
    evidence,
    features,
    integrity,
    leaks,
    project,
    release,
    reproduction,
    score,
    serve,
    team,
)

_INTERRUPTED = 130
_FAULT = 70

app = typer.Typer(
    name="sterling",
    help="Runs the whole life of a production model, and proves every claim that it makes about it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
project.add_to(app)
release.add_to(app)
serve.add_to(app)
score.add_to(app)
evidence.add_to(app)
reproduction.add_to(app)
features.add_to(app)
leaks.add_to(app)
evaluation.add_to(app)
integrity.add_to(app)
data.add_to(app)
chains.add_to(app)
team.add_to(app)


def main() -> None:
    """Run a command: exit with 0 where all is well, 1 where the verdict is no, 2 for wrong usage or input, 70 for a fault."""
    from sterling.core.errors import RefusedError, SterlingError

    try:
        app()
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
