-- Before transactions of a dead server are applied under their own identifiers. Without annotations: they
-- would repeat each row in base64.
SET SESSION sql_log_bin = 1, binlog_annotate_row_events = 0, unique_checks = 1, foreign_key_checks = 1
