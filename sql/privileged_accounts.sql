-- Accounts that read_only does not stop. Bit 33 of `access` is READ_ONLY ADMIN; bit 15 is SUPER, which
-- bypasses it before 10.11 only.
SELECT User AS user, Host AS host FROM mysql.global_priv
WHERE (CAST(JSON_VALUE(Priv, '$.access') AS UNSIGNED) & {bypass}) <> 0
