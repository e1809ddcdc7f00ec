-- Everything that is not the server's own.
SELECT s.SCHEMA_NAME AS name, COUNT(t.TABLE_NAME) AS tables, COALESCE(SUM(t.DATA_LENGTH), 0) AS bytes,
  COALESCE(SUM(t.ENGINE NOT IN ('InnoDB', 'SEQUENCE')), 0) AS unsafe
FROM information_schema.SCHEMATA s LEFT JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = s.SCHEMA_NAME
WHERE s.SCHEMA_NAME NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
GROUP BY s.SCHEMA_NAME ORDER BY s.SCHEMA_NAME
