-- Commits pause, nobody gets an error, and a running long statement does not hold this up. Each stage is
-- bounded by lock_wait_timeout; the pause ends by itself when this connection ends.
BACKUP STAGE START;
BACKUP STAGE FLUSH;
BACKUP STAGE BLOCK_DDL;
BACKUP STAGE BLOCK_COMMIT
