-- What the compose lab's application has on both servers, and who may use it. Each server is told by itself.
SET sql_log_bin = 0;
CREATE DATABASE appdb;
CREATE TABLE appdb.writes (id BIGINT UNSIGNED PRIMARY KEY, server INT UNSIGNED NOT NULL) ENGINE=InnoDB;
CREATE TABLE appdb.health (server INT UNSIGNED PRIMARY KEY, seen TIMESTAMP(3)) ENGINE=InnoDB;
CREATE USER app@'%' IDENTIFIED BY 'app';
CREATE USER app@localhost IDENTIFIED BY 'app';
GRANT SELECT, INSERT, UPDATE, DELETE ON appdb.* TO app@'%', app@localhost;
CREATE DATABASE ap_mode;
CREATE TABLE ap_mode.users (id INT PRIMARY KEY, name VARCHAR(64)) ENGINE=InnoDB;
GRANT SELECT, INSERT, UPDATE, DELETE ON ap_mode.* TO app@'%', app@localhost;
