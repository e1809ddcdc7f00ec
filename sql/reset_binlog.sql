-- Deletes every binary log: only after the tail was shown to hold nothing but rows of apd's own schema.
RESET MASTER
