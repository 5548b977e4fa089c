"""Leaks planted in real data are found, and data without leaks have no finding."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterling.models.frame import Frame
from sterling.project.recipe import LightGBM, Logistic, Prior, Trainer
from sterling.stages.contract import Context
from sterling.stages.leak_models import check_model
from sterling.stages.leak_sample import Sample, sample_of
from sterling.stages.leakage import Leakage, ModelLeakage
from sterling.stages.train import Train
from tests.leakage.planted import CLEAN, HOSTS, LEAKS, Data, of_flights, two_readings
from tests.leakage.real import SCHEDULE
from tests.models.frames import context, put_table

QUICK = ("breast cancer", "wine", "digits", "diabetes, numbers", "diabetes, halves")


@pytest.fixture
def here(tmp_path: Path) -> Context:
    return context(tmp_path)


@cache
def host(name: str) -> Data:
    return HOSTS[name]()


def sampled(data: Data) -> Sample:
    sample = sample_of(
        Frame(data.frame), data.start, data.end, clustered=data.cluster is not None, error_rate=0.05, seed=7
    )
    assert sample
    return sample


def found(data: Data, here: Context) -> list[str]:
    """Findings of the features and of a strong model on them."""
    stage = Leakage(data.start, data.end, clustered=data.cluster is not None, groups=data.groups)
    (fact,) = stage({"frame": put_table(here.store, data.frame)}, here).facts
    assert fact.body["reason"] is None
    names = [finding["name"] for finding in fact.body["findings"]]
    sample = sampled(data)
    scores = sample.scores(range(len(sample.columns)), ~sample.holdout, sample.holdout)
    return names + [one.name for one in check_model(sample, "candidate", scores, {}, {})]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "digits" else ()) for name in CLEAN if name in QUICK]
)
def test_small_data_without_leaks_have_no_finding(name: str, here: Context) -> None:
    assert found(host(name), here) == []


@pytest.mark.parametrize("name", [name for name, leak in LEAKS.items() if leak.into in QUICK])
def test_a_leak_in_small_data_is_found(name: str, here: Context) -> None:
    assert LEAKS[name].finding in found(LEAKS[name].plant(host(LEAKS[name].into)), here)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CLEAN if name not in QUICK])
def test_flights_without_leaks_have_no_finding(name: str, here: Context) -> None:
    assert found(host(name), here) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, leak in LEAKS.items() if leak.into not in QUICK])
def test_a_leak_in_flights_is_found(name: str, here: Context) -> None:
    assert LEAKS[name].finding in found(LEAKS[name].plant(host(LEAKS[name].into)), here)


def trained(data: Data, trainer: Trainer, here: Context) -> dict[str, Any]:
    """Findings of a model that is trained on all of it, by name."""
    ref = put_table(here.store, data.frame)
    models = {
        key: Train(one, role, data.start)({"frame": ref}, here).outputs["model"]  # type: ignore[arg-type]
        for key, one, role in (("candidate", trainer, "candidate"), ("baseline:prior", Prior(), "baseline"))
    }
    stage = ModelLeakage("candidate", data.start, data.end, clustered=data.cluster is not None)
    (fact,) = stage({"frame": ref, **models}, here).facts
    assert fact.body["when"] == "after"
    assert fact.subjects == (f"model:{models['candidate']}",)
    return {finding["name"]: finding["evidence"] for finding in fact.body["findings"]}


def test_a_model_that_reads_from_two_columns_what_none_says_is_too_good(here: Context) -> None:
    data = two_readings(host("diabetes, halves"))
    (evidence,) = trained(data, Logistic(), here).values()
    assert evidence["candidate"] > 0.97
    assert evidence["ladder"]["additive trees"] < 0.85
    assert found(data, here) == []


def test_a_feature_that_carries_a_model_is_found(here: Context) -> None:
    whole = host("diabetes, halves")
    data = replace(whole, columns={name: whole.columns[name] for name in ("age", "sex", "s1", "s2")})
    data = data.plus(data.label + data.random.normal(0, 0.3, len(data.label)))
    evidence = trained(data, LightGBM(trees=30, min_rows_per_leaf=10), here)["importance:planted"]
    assert evidence["share"] > 0.5
    assert evidence["without"] < evidence["candidate"] - 0.1


@pytest.mark.parametrize("name", QUICK[:3])
def test_a_model_without_leaks_has_no_finding(name: str, here: Context) -> None:
    assert trained(host(name), LightGBM(trees=40, min_rows_per_leaf=5), here) == {}


@pytest.mark.slow
def test_a_random_split_of_schedule_and_day_of_year_claims_what_time_does_not_leave(here: Context) -> None:
    data = of_flights("day_of_year", features=SCHEDULE, every=1)
    stage = Leakage(data.start, data.end, clustered=True)
    (fact,) = stage({"frame": put_table(here.store, data.frame)}, here).facts
    (finding,) = fact.body["findings"]
    assert finding["name"] == "date:day_of_year"
    split = fact.body["split"]
    assert split["random"] == pytest.approx(0.78, abs=0.02)
    assert split["time"] == pytest.approx(0.62, abs=0.03)
    assert f"{split['random']:.3f}" in finding["said"]


def test_what_could_not_be_looked_at_is_said(here: Context) -> None:
    data = host("wine")
    frame = put_table(here.store, data.frame)
    for start, said in ((data.end, "0 labels are known in the holdout, and checks need 30"),):
        (fact,) = Leakage(start, data.end + 1)({"frame": frame}, here).facts
        assert fact.body["reason"] == said
    alike = put_table(here.store, replace(data, label=np.zeros(len(data.label), np.int8)).frame)
    (fact,) = Leakage(data.start, data.end)({"frame": alike}, here).facts
    assert fact.body["reason"] == "all labels known before the holdout are alike"


def test_looking_twice_finds_the_same(here: Context) -> None:
    ref = put_table(here.store, host("breast cancer").frame)
    stage = Leakage(host("breast cancer").start, host("breast cancer").end)
    assert stage({"frame": ref}, here) == stage({"frame": ref}, here)


def test_a_value_of_a_personal_column_is_not_named(here: Context) -> None:
    data = host("diabetes, halves")
    data = data.plus(np.where((data.label == 1) & (data.random.random(len(data.label)) < 0.4), "Ada", "others"))
    frame = put_table(here.store, data.frame)
    names = [
        Leakage(data.start, data.end, personal=personal)({"frame": frame}, here).facts[0].body["findings"][0]["said"]
        for personal in ((), ("planted",))
    ]
    assert "Where it is not 'others'" in names[0]
    assert "Where it is one value" in names[1]


def test_rows_that_are_alike_because_nothing_happens_are_no_copies(here: Context) -> None:
    data = host("diabetes, halves")
    still = (data.label == 0) & (data.random.random(len(data.label)) < 0.4)
    columns = {name: np.where(still, 0.0, values) for name, values in data.columns.items()}
    assert not {"duplicates:rows", "near_duplicates:rows"} & set(found(replace(data, columns=columns), here))
