"""What holds for every test."""

from __future__ import annotations

import signal

# a job in the background of a shell ignores SIGINT, and so would the processes that tests start
# and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
