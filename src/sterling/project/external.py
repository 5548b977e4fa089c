"""Models that live elsewhere, behind a URL: a candidate is held against them, and they answer where a version cannot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from sterling.core.errors import InvalidDefinitionError
from sterling.project.definition import Definition
from sterling.project.times import window_micros

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"key|token|secret|password|passwd|sig|auth|credential", re.IGNORECASE)


class ExternalModel(Definition, frozen=True):
    """A model behind a URL that scores the holdout: a champion to beat, or one more baseline.

    It is asked once for each holdout and `version`, and its answers are kept; asking again takes another `version`.

    Args:
        url: Where it answers, ``http://`` or ``https://``, without a password and without a key in it.
        name: Its name in tables; small letters, digits, ``-`` and ``_``.
        role: What the candidate has to do with it.
        protocol: ``"rows"`` posts ``{"rows": [{feature: value}]}`` and reads ``{"scores": […]}``, as Sterling's own server
            does; ``"mlflow"`` posts ``{"dataframe_split": …}`` and reads ``{"predictions": […]}``, as MLflow's scoring
            server does at ``/invocations``.
        columns: The features that it is sent, in order; all of the frame's where none are named.
        version: What is behind the URL, such as a version of its registry.
        token_env: Name of the environment variable that holds a bearer token; never its value.
        batch_rows: Rows of one request.
        timeout: How long it may take to answer one request.
    """

    url: str
    name: str = "external"
    role: Literal["champion", "baseline"] = "champion"
    protocol: Literal["rows", "mlflow"] = "rows"
    columns: Sequence[str] = ()
    version: str | None = None
    token_env: str | None = None
    batch_rows: int = 1000
    timeout: str = "30s"

    def check(self) -> None:
        """Refuse what is no address, and addresses that carry a secret."""
        try:
            parts = urlsplit(self.url)
            _ = parts.port, parts.netloc.encode("idna")
        except ValueError as error:
            raise InvalidDefinitionError(f"ExternalModel.url is {self.url!r}, which is no address: {error}.") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidDefinitionError(f"ExternalModel.url is {self.url!r}. It begins with http:// or https://.")
        if parts.username or parts.password or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query)):
            raise InvalidDefinitionError(
                f"The URL of the ExternalModel {self.name!r} carries a secret, which would be on record for good. Put it "
                "into an environment variable, and name that with token_env=."
            )
        if not _NAME.fullmatch(self.name):
            raise InvalidDefinitionError(
                f"ExternalModel.name is {self.name!r}. Use small letters, digits, - and _, a letter first."
            )
        if self.token_env is not None and not _VARIABLE.fullmatch(self.token_env):
            raise InvalidDefinitionError(
                f"ExternalModel.token_env of {self.name!r} is no name of an environment variable, such as 'SCORES_TOKEN'."
            )
        if self.batch_rows < 1:
            raise InvalidDefinitionError(f"ExternalModel.batch_rows is {self.batch_rows}. It is at least 1.")
        window_micros(self.timeout, field="ExternalModel.timeout")
