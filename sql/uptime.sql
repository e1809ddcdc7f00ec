-- Tells a restarted server from one that merely lost a connection.
SHOW GLOBAL STATUS LIKE 'Uptime'
