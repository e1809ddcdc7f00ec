-- Waits for every running write, and every new write waits behind it: always bounded in the server.
SET GLOBAL read_only = ON
