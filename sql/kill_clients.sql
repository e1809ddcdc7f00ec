-- Ends client sessions. CONNECTION and never QUERY: a killed query that waits for a semi-sync
-- acknowledgement reports success to its client, a killed connection does not.
-- 1094: the session ended by itself meanwhile.
BEGIN NOT ATOMIC
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  FOR session IN (SELECT ID FROM information_schema.PROCESSLIST WHERE {clients}) DO
    KILL CONNECTION session.ID;
  END FOR;
END;
SELECT COUNT(*) AS clients FROM information_schema.PROCESSLIST WHERE {clients}
