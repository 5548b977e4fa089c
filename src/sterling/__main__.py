"""``python -m sterling`` is the command line."""

from sterling.cli import main

main()
