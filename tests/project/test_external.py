"""A model from outside is named by an address that carries no secret."""

from __future__ import annotations

import pytest

from sterling.core.errors import InvalidDefinitionError
from sterling.project.external import ExternalModel


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "ftp://scores.example.com"}, "It begins with http:// or https://"),
        ({"url": "scores.example.com"}, "It begins with http:// or https://"),
        ({"url": "https://ada:hunter2@scores.example.com/"}, "carries a secret"),
        ({"url": "https://scores.example.com/?api_key=abc"}, "name that with token_env="),
        ({"url": "https://scores.example.com/", "name": "The old one"}, "Use small letters"),
        ({"url": "https://scores.example.com/", "token_env": "Bearer abc.def"}, "no name of an environment variable"),
        ({"url": "https://scores.example.com/", "batch_rows": 0}, "It is at least 1"),
        ({"url": "https://scores.example.com/", "timeout": "0s"}, "longer than nothing"),
    ],
)
def test_what_is_no_address_or_carries_a_secret_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidDefinitionError) as raised:
        ExternalModel(**fields)  # type: ignore[arg-type]
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "abc" not in str(raised.value)
