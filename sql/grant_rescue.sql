-- For the rescue of a dead server's last transactions: rows under their own identifiers (BINLOG REPLAY may
-- write any row), and table definitions, which are repeated as statements. Revoke both to forgo the rescue.
GRANT BINLOG REPLAY ON *.* TO {account};
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, TRIGGER,
  CREATE ROUTINE, ALTER ROUTINE, EVENT ON *.* TO {account}
