-- The relay log and the connection data go with it.
RESET SLAVE ALL
