-- Read by column name: the columns differ between versions.
SHOW ALL SLAVES STATUS
