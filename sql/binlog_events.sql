SHOW BINLOG EVENTS IN {file} FROM {position} LIMIT {limit}
