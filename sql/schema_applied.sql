REPLACE INTO {schema}.schema_version (version, applied) VALUES ({version}, UTC_TIMESTAMP(6))
