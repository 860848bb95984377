"""Sets this process's clock as many seconds off as the file says that MX_TEST_CLOCK names. Python imports it at start."""

import os
import time
from pathlib import Path

_file = Path(os.environ.get("MX_TEST_CLOCK", ""))
if _file.is_file():
    _off = float(_file.read_text() or 0)
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _off
    time.time_ns = lambda: _time_ns() + int(_off * 1e9)
