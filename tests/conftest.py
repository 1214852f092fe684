"""What holds for every test."""

from __future__ import annotations

import signal

import torch

# a job in the background of a shell ignores SIGINT, and so would the processes that tests start
# and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

# networks this small gain nothing by a second thread, and where another program has its core the
# threads wait for each other: a training test took minutes in place of seconds
torch.set_num_threads(1)
