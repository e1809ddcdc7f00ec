-- CONNECTION and never QUERY: a killed query that waits for a semi-sync acknowledgement reports success to
-- its client, a killed connection does not. 1094: the session ended by itself meanwhile.
BEGIN NOT ATOMIC
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  {kills}
END
