-- The other server's replica, and its first filling by a dump, which reads everything, as a replica does.
GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {account};
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO {account}
