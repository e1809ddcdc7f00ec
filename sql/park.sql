-- A connection that only waits: the end of its socket tells at once that the server has died.
-- Short enough that what a killed apd leaves behind in the server ends soon.
DO SLEEP(30)
