SELECT number, node FROM {schema}.epoch ORDER BY number DESC, node DESC LIMIT 1
