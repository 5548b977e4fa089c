"""What studies found of the plausible project, as facts."""

from __future__ import annotations

from typing import Any

from sterling.core.refs import ref_of

Fact = tuple[str, list[str], dict[str, Any]]


def change(metric: str, difference: float, half: float, value: float = 0.7) -> dict[str, Any]:
    """A metric's change with its bounds."""
    low, high = round(difference - half, 4), round(difference + half, 4)
    return {
        "metric": metric, "value": value, "difference": difference, "low": low, "high": high, "lower": low, "upper": high,
        "reason": None,
    }  # fmt: skip


def both(log_loss: float, auc: float) -> list[dict[str, Any]]:
    return [change("log_loss", log_loss, 0.004), change("roc_auc", auc, 0.006)]


SLICES = [
    {"where": [["carrier", "MQ"], ["dep_hour", "17.5 and more"]], "direction": "too low", "rows": 612, "clusters": 30,
     "observed": 0.402, "predicted": 0.281, "gap": 0.1034, "low": 0.0312, "high": 0.1756, "excess": 0.0611, "p_value": 0.004},
    {"where": [["weather_visib", "below 4"]], "direction": "too sure", "rows": 431, "clusters": 17, "observed": 0.377,
     "predicted": 0.411, "gap": -0.0261, "low": -0.1203, "high": 0.0681, "excess": 0.1402, "p_value": 0.026},
]  # fmt: skip


def facts(model: str, champion: str | None, trained_again: bool) -> dict[str, list[Fact]]:
    """The facts of each study, by the title of its step."""

    def fact(kind: str, body: dict[str, Any]) -> list[Fact]:
        return [(kind, [f"model:{model}"], {"model": model, "name": "lightgbm", **body})]

    found = {
        "discover slices": fact("slices.discovered", {
            "rows": 27_004, "features": 8, "error_rate": 0.05, "tried": 412, "reason": None,
            "correction": {"intercept": -0.04, "slope": 1.06}, "slices": SLICES if trained_again else []}),
        "analyse errors": _errors(fact),
        "importance": _importance(fact),
        "robustness": fact("robustness.measured", {"rows": 13_502, "of": 27_004, "error_rate": 0.05, "perturbations": [
            {"title": "weather × 1000", "definition": {"type": "Scaled", "of": "weather", "by": 1000}, "features": 2, "mean_score": 0.31, "metrics": both(0.2112, -0.0553)},
            {"title": "weather missing", "definition": {"type": "Missing", "of": "weather"}, "features": 2, "mean_score": 0.19, "metrics": both(0.0512, -0.0221)}]}),
        "behaviour": fact("behaviour.tested", {"ref": ref_of(b"violations"), "tests": [
            {"title": "does not fall when overdue_pending_4h + 5", "definition": {"type": "Rises"}, "rows": 27_004, "violations": 43,
             "share": 43 / 27_004, "low": 0.0011, "high": 0.0022, "upper": 0.0021, "examples": [{"score": 0.512, "then": 0.487}]},
            {"title": "is at least 0.3 where overdue_pending_4h >= 20", "definition": {"type": "Scores"}, "rows": 311, "violations": 0,
             "share": 0.0, "low": None, "high": None, "upper": None, "examples": []}]}),
    }  # fmt: skip
    if champion:
        found["compare with champion"] = fact("predictions.compared", {
            "champion": champion, "rows": 27_004, "threshold": 0.2458, "negative_flips": 129, "positive_flips": 164,
            "rate": 129 / 27_004, "low": 0.00301, "high": 0.00852, "upper": 0.00753, "mean_change": 0.00517, "largest_change": 0.0656,
            "unchanged": 0.0, "explained": 293, "reason": None, "ref": ref_of(b"moved"), "features": [
                {"name": "dep_hour", "size": 0.0185, "mean": 0.0032}, {"name": "carrier", "size": 0.0144, "mean": -0.0021}]})  # fmt: skip
    if trained_again:
        found |= _trained_again(fact)
    return found


def _errors(fact: Any) -> list[Fact]:
    weeks = [("2013-09-02", 6_237, 0.127, 0.169, -0.0838, 0.0025), ("2013-09-09", 6_167, 0.214, 0.194, -0.0394, 0.0932)]
    calibration = [
        {"by": "week", "value": week, "rows": rows, "observed": observed, "predicted": predicted, "log_loss": 0.35,
         "gap": round(observed - predicted, 4), "low": low, "high": high, "reason": None}
        for week, rows, observed, predicted, low, high in weeks
    ]  # fmt: skip
    calibration += [
        {"by": "carrier", "value": "UA", "rows": 4_694, "observed": 0.117, "predicted": 0.14, "log_loss": 0.31, "gap": -0.023,
         "low": -0.0452, "high": 0.0043, "reason": None},
        {"by": "carrier", "value": None, "rows": 12, "observed": 0.25, "predicted": 0.2, "log_loss": 0.52, "gap": 0.05,
         "low": None, "high": None, "reason": "5 clusters. An interval needs at least 8."},
    ]  # fmt: skip
    return list(fact("errors.analysed", {
        "rows": 27_004, "ref": ref_of(b"mistakes"), "calibration": calibration,
        "confusion": {"threshold": 0.2458, "chosen": "the share of positives among the labels known before the holdout",
                      "true_positives": 1_450, "false_positives": 2_006, "false_negatives": 2_255, "true_negatives": 21_293},
        "mistakes": [{"predict_at": "2013-09-29T09:10:00.000000Z", "score": 0.0298, "label": 1},
                     {"predict_at": "2013-09-12T19:30:00.000000Z", "score": 0.941, "label": 0}]}))  # fmt: skip


def _importance(fact: Any) -> list[Fact]:
    def lost(name: str, value: float) -> dict[str, Any]:
        return {
            "name": name,
            "value": value,
            "low": value - 0.003,
            "high": value + 0.003,
            "lower": value - 0.002,
            "upper": value + 0.002,
        }

    permuted = fact("importance.permuted", {
        "metric": "log_loss", "rows": 13_502, "of": 27_004, "confidence": 0.95, "unused": ["weather_visib"], "reason": None,
        "views": [lost("origin_delay", 0.0155)], "features": [lost("dep_hour", 0.0061), lost("carrier", 0.0014)]})  # fmt: skip
    attributed = fact("attributions.measured", {
        "rows": 491, "method": "TreeSHAP, path-dependent", "base": -1.236, "largest_error": 2.1e-14, "reason": None,
        "features": [{"name": "carrier", "size": 0.165, "mean": 0.006}, {"name": "dep_hour", "size": 0.109, "mean": 0.016}]})  # fmt: skip
    return [*permuted, *attributed]


def _trained_again(fact: Any) -> dict[str, list[Fact]]:
    def variant(title: str, rows: int, *lost: float, share: float = 1.0, age: str = "0d") -> dict[str, Any]:
        return {"title": title, "without": [], "share": share, "age": age, "train_rows": rows, "from": "2013-01-01T08:15:00Z",
                "to": "2013-09-01T01:59:00Z", "metrics": both(*lost) if lost else [], "reason": None if lost else "No feature is left."}  # fmt: skip

    asked = {
        "ablation": ("ablation.measured", [variant("without origin_delay", 218_643, 0.0181, -0.0202), variant("without everything", 0)]),
        "learning curve": ("learning.measured", [variant("newest 25 % of the time", 55_897, 0.0071, -0.0189, share=0.25)]),
        "staleness": ("staleness.measured", [variant("frozen 28d before", 191_603, 0.0025, -0.0025, age="28d")]),
    }  # fmt: skip
    return {
        title: list(fact(kind, {"rows": 27_004, "error_rate": 0.05, "variants": found}))
        for title, (kind, found) in asked.items()
    }
