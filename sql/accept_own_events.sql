-- A server that lost a tail of its own transactions skips them silently when they come back, because they
-- carry its own server_id, unless both of these are on (MDEV-27760, 10.6 and newer).
SET GLOBAL rpl_semi_sync_slave_enabled = ON, gtid_strict_mode = ON
