"""The HTTP client library, imported without its command line.

`import httpx` pulls rich, pygments and click when they are installed (7 MB resident), only to offer `httpx` as a
command. Everything here that sends requests imports it from this module.
"""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

if "httpx" not in sys.modules:
    _command_line: Any = ModuleType("httpx._main")
    _command_line.main = lambda: None  # httpx names it on import, so it must be a function
    sys.modules["httpx._main"] = _command_line

import httpx

# httpx logs each request's URL at INFO, and a URL may hold a token.
logging.getLogger("httpx").setLevel(logging.WARNING)

__all__ = ["httpx"]
