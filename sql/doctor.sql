-- Settings that cost data, replication or a way in when they are not as they should be.
SELECT LOWER(VARIABLE_NAME) AS name, VARIABLE_VALUE AS value FROM information_schema.GLOBAL_VARIABLES
WHERE VARIABLE_NAME IN ('sync_binlog', 'innodb_flush_log_at_trx_commit', 'bind_address', 'skip_networking',
  'extra_port', 'log_bin', 'log_slave_updates', 'gtid_strict_mode', 'read_only', 'version', 'server_id',
  'max_connections')
