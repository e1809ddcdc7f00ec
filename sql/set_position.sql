-- 1947 or 1948: this server has transactions beyond the position; it has diverged.
SET GLOBAL gtid_slave_pos = {position}
