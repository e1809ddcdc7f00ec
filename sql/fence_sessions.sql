-- Client sessions that the fence ends: not apd's (first parameter), not replication's (second), not the
-- server's own. They are ended with KILL CONNECTION and never with KILL QUERY, which would acknowledge a
-- commit that waits for the peer. One of apd's own that waits so is ended too: read_only waits behind it.
SELECT ID FROM information_schema.PROCESSLIST
WHERE (USER NOT IN ('system user', 'event_scheduler', ?, ?) OR STATE LIKE 'Waiting for semi-sync ACK%')
  AND USER <> 'system user' AND COMMAND NOT IN ('Killed', 'Daemon') AND COMMAND NOT LIKE 'Binlog Dump%' AND COMMAND NOT LIKE 'Slave\_%'
  AND ID <> CONNECTION_ID()
