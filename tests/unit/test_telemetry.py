"""The lines of the logs."""

import json
import subprocess
import sys

_PROGRAM = """
import logging
from microexchange.telemetry import configure_logging
configure_logging("info")
try:
    1 / 0
except ZeroDivisionError as error:
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
"""


def test_an_error_that_a_library_logs_is_one_line_of_json_with_its_traceback() -> None:
    result = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    line = json.loads(result.stderr)
    assert (line["event"], line["logger"], line["level"]) == ("Exception in ASGI application", "uvicorn.error", "error")
    assert "ZeroDivisionError" in line["exception"]
