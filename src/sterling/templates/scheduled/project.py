"""Which customers will cancel within 28 days? Asked every Monday morning, so that somebody can call them.

It runs as it is, on data that make_data.py invented. For your own: put your tables in data/, name their columns here,
then `sterling check`.
"""

import sterling as sl
from sterling import checks, gates

# Who can be predicted: a row per account and state, true from valid_from until valid_to. A table without history, which
# shows only today's plan and status, would tell the model of the past what happened later.
accounts = sl.EntitySource(
    "accounts",
    "data/accounts.parquet",  # Parquet or CSV, a folder of them, or sl.Query("prepare.sql", inputs=[…])
    entities=["account_id"],
    valid_from="valid_from",
    valid_to="valid_to",
    columns=["account_id", "plan", "country", "seats", "status"],  # valid_to itself is known only when it has come
    checks=[checks.NotNull("account_id"), checks.OneOf("status", ["active", "cancelled"])],
)
# What they do. available_at says when you could have known of a row: here the tracker delivers within two hours. If
# yours arrives in a nightly batch, say so: available_at=sl.Delay("1d").
usage = sl.EventSource(
    "usage",
    "data/usage.parquet",
    entities=["account_id"],
    event_time="started_at",
    available_at=sl.Delay("2h"),
    checks=[checks.NotNull("account_id"), checks.InRange("minutes", 0, 24 * 60), checks.Fresh("2d")],
)
# What is to be predicted.
cancellations = sl.EventSource(
    "cancellations",
    "data/cancellations.parquet",
    entities=["account_id"],
    event_time="cancelled_at",
    available_at=sl.Delay("0m"),
    checks=[checks.NotNull("account_id"), checks.Unique(["account_id"])],
)

features = sl.FeatureService(
    [
        accounts["plan", "country", "seats"],
        sl.FeatureView(
            "usage",
            usage,
            entities=["account_id"],
            features=[sl.Count(windows=["7d", "14d", "28d", "84d"]), sl.Mean("minutes", windows=["14d", "84d"])],
        ),
        sl.Derived("two_weeks_share", "usage_count_14d / nullif(usage_count_84d, 0)"),
        sl.Derived("four_weeks_share", "usage_count_28d / nullif(usage_count_84d, 0)"),
    ]
)

project = sl.Project(
    "__NAME__",
    sl.Problem(
        "call customers who are about to cancel", kpi="monthly cancellations", owner="who answers for the model?"
    ),
    spine=sl.ScheduledSpine(accounts, every="MON 06:00", tz="Europe/Berlin", where="status = 'active'"),
    label=sl.Occurs(cancellations, within="28d"),
    features=features,
    holdout=sl.Holdout("2025-09-15", "2025-11-24", tz="Europe/Berlin"),  # the newest block whose labels are known
    recipe=sl.Recipe(sl.LightGBM(trees=150, leaves=8), baselines=[sl.Prior(), sl.Logistic()]),
    cluster="account_id",  # the rows of one account are not independent
    gates=[
        gates.Improves("average_precision", over="baseline"),
        gates.NonInferior("average_precision", to="champion", margin=0.02),
        gates.AtLeast("roc_auc", 0.70),
        gates.AtMost("ece", 0.03),
        gates.EverySlice("roc_auc", by=["plan"], at_least=0.60),
        gates.Golden("golden.jsonl"),
    ],
)
