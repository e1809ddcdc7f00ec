-- Where the binary log ends now; asked before the state, so that the state covers all that lies before.
SHOW MASTER STATUS
