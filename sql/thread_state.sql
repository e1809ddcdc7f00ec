-- What one of apd's own waiting threads waits for.
SELECT STATE AS state FROM information_schema.PROCESSLIST WHERE ID = {id}
