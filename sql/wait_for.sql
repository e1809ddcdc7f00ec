-- 0: applied; -1: not within the time, also when nothing is being applied at all.
SELECT MASTER_GTID_WAIT({position}, {seconds}) AS waited
