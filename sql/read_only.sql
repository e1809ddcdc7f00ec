-- Read back; a string, because it is 0/1 up to 11.x and OFF/ON/NO_LOCK/NO_LOCK_NO_ADMIN from 12.0 on.
SELECT CONCAT(@@global.read_only) AS read_only
