"""What to do about bytes that were altered in the store: delete them, run again."""

from __future__ import annotations

from pathlib import Path

from sterling.core.store import LocalStore
from tests.cli.conftest import sterling


def test_altered_bytes_that_are_deleted_are_made_again_by_the_next_run(folder: Path) -> None:
    store = LocalStore(folder / ".sterling" / "store")
    spoiled = sorted(store.list())
    for ref in spoiled:
        path = store.open(ref)
        path.chmod(0o644)
        path.write_bytes(bytes(path.stat().st_size))
    found = sterling(folder, "verify", "--json")
    assert found.code == 1
    assert sorted(cited["ref"] for cited in found.json["altered"]) == spoiled
    for ref in spoiled:
        (folder / ".sterling" / "store" / ref[7:9] / ref[9:]).unlink()
    assert sterling(folder, "run").code == 0
    healed = sterling(folder, "verify", "--json")
    assert (healed.code, healed.json["missing"], healed.json["blobs"]) == (0, [], len(spoiled))
    assert healed.json["entries"] == found.json["entries"]
