-- Role, position and identity. Without FROM: MariaDB answers 0 for @@read_only when the same SELECT
-- aggregates over a table.
SELECT @@version AS version, @@server_id AS server_id, CONCAT(@@global.read_only) AS read_only,
  CONCAT(@@global.gtid_strict_mode) AS gtid_strict_mode, CONCAT(@@global.log_bin) AS log_bin,
  CONCAT(@@global.log_slave_updates) AS log_slave_updates, @@global.binlog_format AS binlog_format,
  @@global.gtid_binlog_pos AS gtid_binlog_pos, @@global.gtid_binlog_state AS gtid_binlog_state,
  @@global.gtid_slave_pos AS gtid_slave_pos, @@global.slave_net_timeout AS slave_net_timeout,
  @@global.datadir AS datadir, @@global.log_bin_basename AS log_bin_basename,
  @@global.relay_log_basename AS relay_log_basename
