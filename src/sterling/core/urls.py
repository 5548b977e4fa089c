"""URLs of servers: split into their parts, and shown without the password that may stand in them."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from sterling.core.errors import InvalidDefinitionError


def without_password(url: str) -> str:
    """A URL as it may be shown.

    Example:
        >>> without_password("postgresql://ada:se@cret@db.example.com/evidence")
        'postgresql://ada@db.example.com/evidence'
        >>> without_password("valkey://ada:se/cr#et@cache.example.com/0")
        'valkey://ada@cache.example.com/0'
    """
    return re.sub(r"(//[^/?#:@]*):.*@", r"\1@", url)  # to the last @: signs that end a URL's parts may stand unescaped


def split_url(url: str, *, port: int, example: str) -> tuple[SplitResult, int]:
    """The parts of a URL, and its port.

    Args:
        url: The URL.
        port: The port where it names none.
        example: One that works, for the error.

    Raises:
        InvalidDefinitionError: if it is none, or its port is none.
    """
    try:
        parts = urlsplit(url)
        named = parts.port
    except ValueError:
        raise InvalidDefinitionError(
            f"{without_password(url)} is no URL. Example: {example}. Signs like / # @ in a password are written as "
            "%2F %23 %40."
        ) from None
    return parts, port if named is None else named
