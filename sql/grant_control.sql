-- apd on its own server: read_only, replication, KILL, the freeze (RELOAD), the process list, its own
-- schema, and who may bypass read_only.
GRANT READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, SLAVE MONITOR, BINLOG MONITOR,
  CONNECTION ADMIN, RELOAD, PROCESS ON *.* TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.* TO {account};
GRANT SELECT ON mysql.global_priv TO {account}
