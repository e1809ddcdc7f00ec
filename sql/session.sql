-- Said once on every connection of apd. Waits for locks are bounded in the server too: a client that gives
-- up leaves its statement pending there, and everybody else queued behind it.
SET SESSION wait_timeout = 31536000, lock_wait_timeout = 1, innodb_lock_wait_timeout = 1,
  autocommit = 1, sql_mode = '', time_zone = '+00:00', idle_transaction_timeout = 0
