-- The row that proves that commits work here and that travels to the standby. It writes nothing on a
-- read-only server: apd's own privilege would let it, and the row would be errant.
INSERT INTO {schema}.heartbeat (node, epoch_number, epoch_node, sequence, utc)
SELECT {node}, {epoch_number}, {epoch_node}, 1, UTC_TIMESTAMP(6) FROM DUAL
WHERE CONCAT(@@global.read_only) IN ('0', 'OFF')
ON DUPLICATE KEY UPDATE epoch_number = {epoch_number}, epoch_node = {epoch_node},
  sequence = sequence + 1, utc = UTC_TIMESTAMP(6)
