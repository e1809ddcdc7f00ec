SELECT @@global.gtid_binlog_pos AS gtid_binlog_pos, @@global.gtid_binlog_state AS gtid_binlog_state,
  @@global.gtid_slave_pos AS gtid_slave_pos
