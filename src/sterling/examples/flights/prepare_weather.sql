-- The weather at the airports of origin, a row per airport and hour; time_hour, when the hour begins, is UTC.
SELECT
    origin,
    CAST(time_hour AS TIMESTAMPTZ) AS time_hour,
    TRY_CAST(temp AS DOUBLE) AS temp,
    TRY_CAST(dewp AS DOUBLE) AS dewp,
    TRY_CAST(humid AS DOUBLE) AS humid,
    TRY_CAST(pressure AS DOUBLE) AS pressure,
    TRY_CAST(wind_speed AS DOUBLE) AS wind_speed,
    TRY_CAST(visib AS DOUBLE) AS visib,
    TRY_CAST(precip AS DOUBLE) AS precip
FROM weather
ORDER BY time_hour, origin
