SET SESSION gtid_domain_id = {domain}, server_id = {server}, gtid_seq_no = {sequence}
