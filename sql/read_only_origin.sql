-- Where read_only got its value: a server that does not start read-only is writable before apd sees it.
SELECT GLOBAL_VALUE_ORIGIN AS origin FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME = 'READ_ONLY'
