-- One row per scheduled flight. The raw files have no flight id, delays instead of times, and arrivals on the clock of
-- the destination, without a date. All times here are UTC; the raw files write NA for null.
WITH scheduled AS (
    SELECT
        flights.*,
        make_date(year, month, day) AS local_date,
        CAST(time_hour AS TIMESTAMPTZ) + to_minutes(CAST(minute AS BIGINT)) AS scheduled_departure,
        to_minutes(CAST(sched_arr_time // 100 * 60 + sched_arr_time % 100 AS BIGINT)) AS arrival_clock,
        coalesce(nullif(airports.tzone, 'NA'), 'America/Puerto_Rico') AS dest_tz,  -- BQN, PSE, SJU, STT are not listed
        50 + distance / 7.7 AS usual_minutes                                       -- from gate to gate, to a half hour
    FROM flights LEFT JOIN airports ON airports.faa = flights.dest
),

-- Of all days, a flight is due on the one that makes its duration the most usual.
due AS (
    SELECT
        *,
        date_diff('minute', scheduled_departure, (local_date + arrival_clock) AT TIME ZONE dest_tz) AS same_day_minutes,
        to_days(CAST(round((usual_minutes - same_day_minutes) / 1440) AS INTEGER)) AS days_later,
        (local_date + days_later + arrival_clock) AT TIME ZONE dest_tz AS scheduled_arrival
    FROM scheduled
),

-- A cancelled flight has no delay, and so no time; one that was diverted has no delay at its destination.
flown AS (
    SELECT
        *,
        scheduled_departure + to_minutes(TRY_CAST(dep_delay AS BIGINT)) AS actual_departure,
        scheduled_arrival + to_minutes(TRY_CAST(arr_delay AS BIGINT)) AS actual_arrival
    FROM due
)

SELECT
    concat_ws('-', carrier, flight, origin, local_date) AS flight_id,
    CAST(local_date AS VARCHAR) AS local_day,
    carrier,
    origin,
    'New York' AS city,
    'America/New_York' AS origin_tz,
    dest,
    distance,
    nullif(tailnum, 'NA') AS tailnum,
    scheduled_departure,
    scheduled_arrival,
    actual_departure,
    actual_arrival,
    TRY_CAST(dep_delay AS DOUBLE) AS dep_delay,
    TRY_CAST(arr_delay AS DOUBLE) AS arr_delay,
    date_diff('minute', actual_departure, actual_arrival) - TRY_CAST(air_time AS DOUBLE) AS ground_minutes
FROM flown
ORDER BY scheduled_departure, flight_id
