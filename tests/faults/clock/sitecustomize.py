"""Shifts the clock of a process. Python imports this module at its start.

`MX_TEST_CLOCK` is the path of a file with the offset in seconds.
"""

import os
import time
from pathlib import Path

_file = Path(os.environ.get("MX_TEST_CLOCK", ""))
if _file.is_file():
    _offset_seconds = float(_file.read_text() or 0)
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _offset_seconds
    time.time_ns = lambda: _time_ns() + int(_offset_seconds * 1e9)
