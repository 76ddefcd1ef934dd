"""A worker process: JSON lines in on standard input, JSON lines out on standard output.

It is started as a fresh interpreter, not by multiprocessing (whose spawn runs a user's script
again), and ends as soon as its input does, in the middle of a segment too.
"""

from hpopt_envs.messages import request_from_json, to_json
from hpopt_envs.serving import build, serve
from hpopt_search_spaces.errors import HpoptError

from .pipes import open_pipes


def main() -> None:
    """Serve requests until standard input ends; the first line says what to build."""
    receive, reply = open_pipes()
    asked = receive()
    try:
        env = build(asked["factory"], asked["settings"])
    except HpoptError as error:
        reply({"error": str(error)})
        return
    reply({"facts": vars(env.facts), "space": env.space.to_dict()})
    while True:
        reply(to_json(serve(env, request_from_json(receive()))))
