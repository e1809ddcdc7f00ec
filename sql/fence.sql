-- The gate process's own fence, after a lease was lost. Bounded in the server: it waits for every running
-- write, and one that hangs must not leave it pending for a later activity.
SET STATEMENT max_statement_time=1 FOR SET GLOBAL read_only = ON
