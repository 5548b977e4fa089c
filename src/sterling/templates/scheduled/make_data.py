"""Make the data that this project starts with. They are invented: no company, no customer, always the same bytes.

A subscription service over 68 weeks. Teams and businesses that are about to leave work less and less for some weeks,
then cancel. Starters take breaks and come back; it is when they hurry to finish a project that they are about to leave.
A few cancel out of the blue, and teams are on holiday in August. So the same numbers mean different things by plan.
Replace the three files by your own, and delete this one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 20250106
ACCOUNTS = 2_000
WEEKS = 68
WEEKS_OF_SIGN_UPS = 50
START = np.datetime64("2024-09-02T00:00:00", "us")  # a Monday
MINUTE = np.timedelta64(1, "m")
DAY = np.timedelta64(1, "D")
WEEK = 7 * DAY

PLANS = np.array(["starter", "team", "business"])
COUNTRIES = np.array(["DE", "FR", "NL", "SE", "US"])
SESSIONS_A_WEEK = np.array([1.5, 2.5, 4.0])  # by plan, as the next three
STARTS_TO_LEAVE = np.array([0.006, 0.010, 0.008])  # chance a week
LEAVES_AT_ONCE = np.array([0.001, 0.0005, 0.0005])
TAKES_A_BREAK = np.array([0.06, 0.004, 0.002])
CHANGES_BY = np.array([1.3, 0.6, 0.6])  # factor a week, while about to leave


def main(folder: Path = Path("data")) -> None:
    """Write accounts, usage and cancellations as Parquet files."""
    random = np.random.default_rng(SEED)
    plan = random.choice(3, ACCOUNTS, p=[0.5, 0.35, 0.15])
    country = random.choice(5, ACCOUNTS, p=[0.3, 0.2, 0.15, 0.1, 0.25])
    seats = 1 + random.poisson(np.array([0.5, 6, 30])[plan])
    signed_up = START + (np.sort(random.random(ACCOUNTS)) * WEEKS_OF_SIGN_UPS * WEEK / MINUTE).astype(int) * MINUTE

    cancelled = np.full(ACCOUNTS, np.datetime64("NaT", "us"))
    leaving_for = np.zeros(ACCOUNTS, dtype=int)  # weeks since the customer began to leave
    on_break_for = np.zeros(ACCOUNTS, dtype=int)  # weeks until the customer is back
    habit = SESSIONS_A_WEEK[plan] * random.lognormal(0, 0.4, ACCOUNTS)
    accounts_of, times, minutes = [], [], []
    for week in range(WEEKS):
        monday = START + week * WEEK
        here = (signed_up < monday + WEEK) & np.isnat(cancelled)
        leaving_for += here & ((leaving_for > 0) | (random.random(ACCOUNTS) < STARTS_TO_LEAVE[plan]))
        august = (monday.astype("datetime64[M]").astype(int) % 12 == 7) & (plan == 1) & (country < 3)
        breaks = (on_break_for == 0) & (random.random(ACCOUNTS) < TAKES_A_BREAK[plan] + 0.15 * august)
        on_break_for = np.where(breaks, random.integers(2, 6, ACCOUNTS), np.maximum(on_break_for - 1, 0))

        activity = habit * CHANGES_BY[plan] ** leaving_for * np.where(on_break_for > 0, 0.05, 1)
        sessions = random.poisson(np.where(here, activity, 0))
        who = np.repeat(np.arange(ACCOUNTS), sessions)
        when = (
            monday + (random.integers(0, 7, len(who)) * 24 * 60 + random.integers(7 * 60, 20 * 60, len(who))) * MINUTE
        )
        goes = here & (random.random(ACCOUNTS) < LEAVES_AT_ONCE[plan] + 0.3 * (leaving_for > 3))
        last_day = monday + random.integers(0, 7 * 24 * 60, ACCOUNTS) * MINUTE
        cancelled = np.where(goes & (last_day > signed_up), last_day, cancelled)

        still = (when >= signed_up[who]) & ~(when >= cancelled[who])
        accounts_of.append(who[still])
        times.append(when[still])
        minutes.append(1 + random.gamma(2, np.where(leaving_for[who[still]] > 0, 8, 12)).astype(int))

    who, when = np.concatenate(accounts_of), np.concatenate(times)
    order = np.lexsort((who, when))
    folder.mkdir(parents=True, exist_ok=True)
    write(
        folder / "usage.parquet",
        account_id=name(who[order]),
        started_at=when[order],
        minutes=np.concatenate(minutes)[order],
    )
    gone = np.flatnonzero(~np.isnat(cancelled))
    gone = gone[np.argsort(cancelled[gone], kind="stable")]
    write(folder / "cancellations.parquet", account_id=name(gone), cancelled_at=cancelled[gone])
    who = np.concatenate([np.arange(ACCOUNTS), gone])
    write(
        folder / "accounts.parquet",
        account_id=name(who),
        plan=PLANS[plan[who]],
        country=COUNTRIES[country[who]],
        seats=seats[who],
        status=np.repeat(["active", "cancelled"], [ACCOUNTS, len(gone)]),
        valid_from=np.concatenate([signed_up, cancelled[gone]]),
        valid_to=np.concatenate([cancelled, np.full(len(gone), np.datetime64("NaT", "us"))]),
    )


def name(accounts: np.ndarray) -> pa.Array:
    """Names of accounts, such as ``a0042``."""
    return pa.array(np.char.add("a", np.char.zfill(accounts.astype(str), 4)))


def write(path: Path, **columns: np.ndarray | pa.Array) -> None:
    """A table as Parquet; its times are in UTC."""
    arrays = {key: pa.array(value) for key, value in columns.items()}
    utc = {
        key: array.cast(pa.timestamp("us", "UTC")) for key, array in arrays.items() if pa.types.is_timestamp(array.type)
    }
    pq.write_table(pa.table({**arrays, **utc}), path, compression="zstd")


if __name__ == "__main__":
    main()
