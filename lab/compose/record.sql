-- The first record, as the application writes it: through the virtual address, as often as is needed.
INSERT INTO ap_mode.users VALUES (1, 'cclin') ON DUPLICATE KEY UPDATE name = VALUES(name);
