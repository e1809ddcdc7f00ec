-- The newest applied heartbeat row of one activity.
SELECT sequence FROM {schema}.heartbeat
WHERE node = {node} AND epoch_number = {epoch_number} AND epoch_node = {epoch_node}
