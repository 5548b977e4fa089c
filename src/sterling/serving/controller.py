"""The controller: looks at the rollout that is under way again and again, and has it go on, pause, or go back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sterling.core.clock import Clock, utcnow
from sterling.core.errors import SterlingError
from sterling.core.ledger import Ledger
from sterling.core.store import Store
from sterling.decisions.guardrails import Counts
from sterling.decisions.operate import Look, operate
from sterling.serving.counted import counted

_log = logging.getLogger("sterling.serving")


class Controller:
    """Looks at rollouts, and decides about them by what servers counted.

    Any number of them may run, on any machine that sees the counts: each decision is taken once, by whichever looks first.

    Args:
        ledger: The project's chain.
        store: Where definitions are, which say who must approve.
        folders: Where server processes count.
        every_seconds: How long it waits between two looks.
        clock: Says what time it is.
    """

    def __init__(
        self, ledger: Ledger, store: Store, folders: Sequence[Path], *, every_seconds: float = 5.0, clock: Clock = utcnow
    ) -> None:  # fmt: skip
        self._ledger, self._store, self._folders = ledger, store, folders
        self._every_seconds, self._clock = every_seconds, clock
        self._stopped = threading.Event()
        self.trouble: str | None = None
        """Why nothing can be decided now, such as a ledger that cannot be reached; None where it can."""

    def look(self) -> Look:
        """Look once, and do what the guardrails say.

        Raises:
            StorageError: if the ledger or the counts cannot be read.
        """
        return operate(self._ledger, self._store, self._count, clock=self._clock)

    def run(self, say: Callable[[Look], None]) -> None:
        """Look until it is stopped; what stands in the way is logged, and tried again.

        Args:
            say: Told what each look found.
        """
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                found, trouble = self.look(), None
                say(found)
            except (SterlingError, OSError) as error:
                trouble = f"Nothing is decided: {error}"
            if trouble and trouble != self.trouble:
                _log.warning("%s", trouble)
            self.trouble = trouble
            self._stopped.wait(max(0.05, started + self._every_seconds - time.monotonic()))

    def stop(self) -> None:
        """Stop behind the look that is under way."""
        self._stopped.set()

    def _count(self, position: int) -> Counts:
        return counted(self._folders, position)
