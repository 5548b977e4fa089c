"""What the server says while it runs: a JSON object a line, on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """A log record as a line of JSON: time, level, logger, message, process, and what was given as `extra`.

    Example:
        >>> record = logging.makeLogRecord({"msg": "version %s", "args": (7,), "created": 0.0, "name": "sterling.serving"})
        >>> json.loads(JsonLines().format(record))["message"]
        'version 7'
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(), "process": os.getpid(),
        } | {name: value for name, value in vars(record).items() if name not in _OWN}  # fmt: skip
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def log_as_json() -> None:
    """Have Sterling and its HTTP server write JSON lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("sterling", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
