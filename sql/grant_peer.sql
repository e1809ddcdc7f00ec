-- apd of the other node on this server: it may fence it and compare with it, nothing else.
GRANT READ_ONLY ADMIN, CONNECTION ADMIN, PROCESS ON *.* TO {account};
GRANT SELECT ON {schema}.* TO {account}
