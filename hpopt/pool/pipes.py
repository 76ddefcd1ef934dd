"""A worker process's side of its pipes: JSON lines in on standard input, out on standard output."""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any


def open_pipes() -> tuple[Callable[[], Any], Callable[[Mapping[str, Any]], None]]:
    """Take the pipes over from everything else in this process, once.

    The process ends as soon as its input does, whatever it is doing then.

    Returns:
        A function that waits for the next message, and one that sends a reply.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; our parent decides
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not get between the replies
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()

    def receive() -> Any:
        return json.loads(lines.get())

    def reply(message: Mapping[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")

    return receive, reply


def _read(lines: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)
