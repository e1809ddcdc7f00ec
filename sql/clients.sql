-- Which sessions are clients: not apd's, not replication's, not the server's own, not dying already.
USER NOT IN ('system user', 'event_scheduler', {user}, {replication_user})
  AND COMMAND NOT IN ('Killed', 'Daemon') AND COMMAND NOT LIKE 'Binlog Dump%' AND COMMAND NOT LIKE 'Slave\\_%'
  AND ID <= {newest} AND ID <> CONNECTION_ID()
