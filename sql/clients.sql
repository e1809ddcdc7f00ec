-- Which sessions are clients: not apd's, not replication's, not the server's own, not dying already. One
-- that is still logging in has no transaction yet, and may be apd's.
USER NOT IN ('system user', 'event_scheduler', 'unauthenticated user', {user}, {replication_user})
  AND COMMAND NOT IN ('Killed', 'Daemon') AND COMMAND NOT LIKE 'Binlog Dump%' AND COMMAND NOT LIKE 'Slave\\_%'
  AND ID <= {newest} AND ID <> CONNECTION_ID()
