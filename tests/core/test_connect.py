"""Ledgers and stores by URL."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sterling.core.connect import connect_ledger, connect_store, list_chains, roles_of
from sterling.core.errors import MissingExtraError, UnknownBackendError
from sterling.core.sqlite import SQLiteLedger
from sterling.core.store import LocalStore


def test_a_url_names_a_ledger_or_a_store(tmp_path: Path) -> None:
    assert isinstance(connect_ledger(f"sqlite:{tmp_path}/ledger.db", "flights"), SQLiteLedger)
    assert isinstance(connect_store(f"file:{tmp_path}/store"), LocalStore)


def test_an_unknown_scheme_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(UnknownBackendError, match=r"No adapter for 'sqlit'. Known: .*sqlite"):
        connect_ledger("sqlit:x.db", "flights")
    with pytest.raises(UnknownBackendError, match=r"No adapter for 'store'. Known: .*file"):
        connect_store("store")


def test_a_url_without_a_path_is_refused() -> None:
    with pytest.raises(UnknownBackendError, match=r"'sqlite:' names no path. Example: sqlite:.sterling/ledger.db"):
        connect_ledger("sqlite:", "flights")
    with pytest.raises(UnknownBackendError, match=r"'file:' names no path"):
        connect_store("file:")


@pytest.mark.parametrize("extra", ["postgresql postgres", "s3 s3", "gs gcs", "abfs azure"])
def test_an_adapter_whose_libraries_are_missing_names_its_extra_and_no_password(
    monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    scheme, name = extra.split()
    url = f"{scheme}://ada:hunter2@db/evidence"
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [EntryPoint(scheme, "sterling.adapters.no_such_module:Adapter", group)],
    )
    for call in (lambda: connect_ledger(url, "flights"), lambda: list_chains(url), lambda: connect_store(url)):
        with pytest.raises(
            MissingExtraError, match=rf"Install it with: pip install 'sterling-ml\[{name}\]'"
        ) as missing:
            call()
        assert "hunter2" not in shown(missing.value)


@pytest.mark.parametrize(
    "url", ["postgres://ada:hunter2@db/evidence", "//ada:hunter2@db", "postgresql//ada:hunter2@db"]
)
def test_the_password_of_a_url_is_never_repeated(url: str) -> None:
    for call in (lambda: connect_ledger(url, "flights"), lambda: list_chains(url), lambda: connect_store(url)):
        with pytest.raises(UnknownBackendError) as refused:
            call()
        assert "hunter2" not in shown(refused.value)


def shown(error: BaseException) -> str:
    """All that a traceback says of an error and its causes, without lines of source."""
    return "".join(map(str, (error, error.__cause__, error.__context__)))


def test_a_ledger_without_users_has_no_roles() -> None:
    with pytest.raises(UnknownBackendError, match="has no roles: who may write its file may do everything"):
        roles_of("sqlite:ledger.db", reader="r", writer="w", approver="a")
