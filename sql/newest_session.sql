-- Sessions beyond this one were opened after the server had become read-only.
SELECT COALESCE(MAX(ID), 0) AS newest FROM information_schema.PROCESSLIST
