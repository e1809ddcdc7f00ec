-- Frees the row locks of a half-received transaction. The receiving thread stays: with both threads
-- stopped, the next START would delete the relay log.
STOP SLAVE SQL_THREAD
