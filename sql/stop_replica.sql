-- Takes up to 2 s with semi-sync and an unreachable primary: never on the way to a takeover.
STOP SLAVE
