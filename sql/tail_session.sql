-- Before transactions of a dead server are applied under their own identifiers.
SET SESSION unique_checks = 1, foreign_key_checks = 1
