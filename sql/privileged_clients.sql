-- Accounts in use that read_only does not stop. Bit 33 of `access` is READ_ONLY ADMIN; bit 15 is SUPER,
-- which bypasses it before 10.11 only.
SELECT DISTINCT CONCAT(p.USER, '@', SUBSTRING_INDEX(p.HOST, ':', 1)) AS account
FROM information_schema.PROCESSLIST p
JOIN mysql.global_priv g ON g.User = p.USER AND SUBSTRING_INDEX(p.HOST, ':', 1) LIKE g.Host
WHERE p.USER NOT IN ('system user', 'event_scheduler', {user}, {replication_user})
  AND p.ID <> CONNECTION_ID()
  AND (CAST(JSON_VALUE(g.Priv, '$.access') AS UNSIGNED) & {bypass}) <> 0
ORDER BY account
