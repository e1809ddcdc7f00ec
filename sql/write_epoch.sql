-- The ledger of activities travels with the data and proves its lineage.
INSERT INTO {schema}.epoch (number, node, reason, utc, gtid)
VALUES ({number}, {node}, {reason}, UTC_TIMESTAMP(6), {gtid})
ON DUPLICATE KEY UPDATE reason = {reason}
