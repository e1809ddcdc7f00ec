-- Age of the newest row that another node wrote, in microseconds.
SELECT GREATEST(0, TIMESTAMPDIFF(MICROSECOND, MAX(utc), UTC_TIMESTAMP(6))) AS age
FROM {schema}.heartbeat WHERE node <> {node}
