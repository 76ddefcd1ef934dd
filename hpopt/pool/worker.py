"""A worker process: JSON lines in on standard input, JSON lines out on standard output.

It is started as a fresh interpreter, not by multiprocessing (whose spawn runs a user's script
again), and ends as soon as its input does, in the middle of a segment too.
"""

import json
import os
import queue
import signal
import sys
import threading
from typing import Any

from hpopt_envs.messages import request_from_json, to_json
from hpopt_envs.serving import build, serve
from hpopt_search_spaces.errors import HpoptError


def main() -> None:
    """Serve requests until standard input ends; the first line says what to build."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; our parent decides
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not get between the replies
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()

    def reply(data: dict[str, Any]) -> None:
        out.write(json.dumps(data) + "\n")

    asked = json.loads(lines.get())
    try:
        env = build(asked["factory"], asked["settings"])
    except HpoptError as error:
        reply({"error": str(error)})
        return
    reply({"facts": vars(env.facts), "space": env.space.to_dict()})
    while True:
        reply(to_json(serve(env, request_from_json(json.loads(lines.get())))))


def _read(lines: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)
