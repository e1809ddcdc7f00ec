-- A copied event must not run on a replica too; replication would have marked it the same way.
UPDATE mysql.event SET status = 'SLAVESIDE_DISABLED', originator = {server} WHERE status = 'ENABLED'
