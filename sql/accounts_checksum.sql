SELECT CONCAT(COUNT(*), '-', COALESCE(SUM(CRC32(CONCAT(Host, '@', User, Priv))), 0)) AS checksum FROM mysql.global_priv
