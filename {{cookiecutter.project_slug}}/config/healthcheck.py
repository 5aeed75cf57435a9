"""Ask the service in this container whether it answers: the HEALTHCHECK of its image."""

import os
import sys
from http.client import HTTPConnection, HTTPException

connection = HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "8000")), timeout=10)
host = os.environ.get("TRUSTED_HOSTS", "localhost").split(",")[0].strip().removeprefix(".")
try:
    connection.request("GET", "/livez", headers={"Host": host, "Connection": "close"})
    status = connection.getresponse().status
except (OSError, HTTPException) as error:
    status = 0
    print(error)
finally:
    connection.close()
sys.exit(status != 200)
