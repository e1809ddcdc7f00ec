-- While this database exists, what else is here is a copy that was not finished: the next run starts over.
CREATE DATABASE IF NOT EXISTS {marker}
