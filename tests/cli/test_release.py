"""Commands that decide which version answers."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import sterling
from tests.lifecycle.small import edit

ROLLOUT = 'seed=0, rollout=[sl.Shadow("1d"), sl.Canary("5%", "1d")], routing=sl.Routing("depot", holdout="1%"),\n)'
HIGH = 'owner="logistics", risk="high"'
BEA = {"STERLING_ACTOR": "user:bea"}


def test_a_version_goes_from_its_approval_through_its_stages_and_back(folder: Path) -> None:
    edit(folder, "trees=15", "trees=16")
    edit(folder, 'owner="logistics"', HIGH)
    edit(folder, "    gates=[", "    " + ROLLOUT[:-2].replace("\n", "") + "\n    gates=[")
    ran = sterling(folder, "run", "--release-now", "--json")
    assert (ran.code, ran.json["version"], ran.json["released"]) == (1, 2, False)
    assert "needs the approval of owner" in ran.json["warnings"][0]

    refused = sterling(folder, "release")
    assert (refused.code, refused.out) == (1, "")
    assert "Ask somebody other than" in refused.errors
    plan = sterling(folder, "release", "--plan").out
    assert "Version 1 takes all traffic." in plan
    assert "not yet; asked for by the risk is high" in plan
    approved = sterling(folder, "approve", **BEA)
    assert (approved.code, approved.out.splitlines()[1].partition(",")[0]) == (
        0,
        "Version 2 is approved as owner and validation",
    )

    began = sterling(folder, "release")
    assert began.code == 0, began.errors
    assert "beside version 1: shadow for 1d and canary 5 % for 1d, then all traffic." in began.out
    early = sterling(folder, "promote")
    assert (early.code, "--early does so now, and is recorded" in early.errors) == (1, True)
    assert sterling(folder, "promote", "--early", "--json").json["title"] == "canary 5 %"
    shown = sterling(folder, "release", "--plan", "--json").json
    assert (shown["weights"], shown["routing"]["unit"]) == ({"1": 0.95, "2": 0.05}, "depot")

    looked = sterling(folder, "operate", "--once")
    assert (looked.code, looked.errors) == (0, "")
    assert "Version 2, canary 5 % [" in looked.out
    assert looked.out.endswith("Not enough evidence yet: nothing was counted of the errors.\n")
    assert [one["state"] for one in shown["judged"]] == ["unseen"] * 4

    assert sterling(folder, "pause", "--reason", "Slow.").code == 0
    stale = sterling(folder, "promote", "--on", str(shown["on"]))
    assert (stale.code, "is stale: Version 2 is paused" in stale.errors) == (1, True)
    assert sterling(folder, "promote").code == 0
    assert sterling(folder, "promote", "--early").out.startswith("Promoted version 2")
    assert sterling(folder, "status", "--json").json["release"]["weights"] == {"2": 1.0}

    back = sterling(folder, "rollback", "--reason", "Complaints.", "--evidence", "3", "--json").json
    assert (back["version"], back["to"], back["what"], back["seen"][-1]) == (2, 1, "release", 3)
    assert sterling(folder, "retire", "1").code == 1
    (folder / "project.py").write_text("raise SystemExit")
    assert sterling(folder, "pause").errors.startswith("sterling: No version is on its way.")


def test_an_approval_can_be_taken_back(folder: Path) -> None:
    assert sterling(folder, "approve", "1", "--as", "validation").code == 0
    taken = sterling(folder, "approve", "1", "--revoke", "--as", "validation", "--reason", "Wrong.", "--json").json
    assert (taken["kind"], taken["roles"]) == ("approval.revoked", ["validation"])
