-- Accounts and schema are installed on each server by itself: neither waits for the other, and a server
-- that follows from the beginning meets nothing twice.
SET SESSION sql_log_bin = 0
