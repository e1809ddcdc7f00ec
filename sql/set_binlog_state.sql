SET GLOBAL gtid_binlog_state = {state}
