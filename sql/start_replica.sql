-- Deletes the relay log when both threads were stopped: only where everything will be received again.
START SLAVE
