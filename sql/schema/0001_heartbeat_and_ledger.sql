-- The replicated schema of apd. Installed on each server by itself (not through the binary log), filled
-- through replication. Every later version is a file of its own beside this one.
CREATE DATABASE IF NOT EXISTS {schema};

-- Which files of sql/schema were applied.
CREATE TABLE IF NOT EXISTS {schema}.schema_version (
  version INT UNSIGNED NOT NULL PRIMARY KEY,
  applied DATETIME(6) NOT NULL
) ENGINE = InnoDB;

-- One row for each node, written by the active only: proof that commits work, sign of life, age of the data.
CREATE TABLE IF NOT EXISTS {schema}.heartbeat (
  node TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  epoch_number BIGINT UNSIGNED NOT NULL,
  epoch_node TINYINT UNSIGNED NOT NULL,
  sequence BIGINT UNSIGNED NOT NULL,
  utc DATETIME(6) NOT NULL
) ENGINE = InnoDB;

-- Every activity of the pair: which node, why, when, and the position at which it began.
CREATE TABLE IF NOT EXISTS {schema}.epoch (
  number BIGINT UNSIGNED NOT NULL,
  node TINYINT UNSIGNED NOT NULL,
  reason VARCHAR(200) NOT NULL,
  utc DATETIME(6) NOT NULL,
  gtid TEXT NOT NULL,
  PRIMARY KEY (number, node)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4
