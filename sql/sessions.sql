-- Not information_schema.PROCESSLIST: that one writes a temporary table to a disk that may be full or hang.
SHOW PROCESSLIST
