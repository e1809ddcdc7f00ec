-- Said once on every connection of apd. Each statement is bounded by max_statement_time besides; waits for
-- locks are bounded here too, because a client that gives up leaves its statement pending in the server,
-- and everybody else queued behind it.
SET SESSION wait_timeout = 31536000, lock_wait_timeout = 30, innodb_lock_wait_timeout = 5,
  autocommit = 1, sql_mode = '', time_zone = '+00:00', idle_transaction_timeout = 0
