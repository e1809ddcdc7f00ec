-- apd of the other node on this server: it may fence it and compare with it (what it has and what is under way in its
-- relay log), nothing else.
GRANT READ_ONLY ADMIN, CONNECTION ADMIN, PROCESS, SLAVE MONITOR ON *.* TO {account};
GRANT SELECT ON {schema}.* TO {account}
