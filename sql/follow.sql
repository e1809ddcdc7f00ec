-- slave_pos and not current_pos: the latter would adopt errant transactions into the position.
-- With the default slave_net_timeout of 60 s a vanished primary is noticed after a minute.
SET GLOBAL slave_net_timeout = 3;
CHANGE MASTER TO MASTER_HOST = {host}, MASTER_PORT = {port}, MASTER_USER = {user}, MASTER_PASSWORD = {password},
  MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 1{tls}
