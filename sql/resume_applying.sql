-- Only while the receiving thread runs, see stop_applying.sql.
START SLAVE SQL_THREAD
