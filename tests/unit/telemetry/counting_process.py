"""A process that counts in a node's directory, steered by lines on its standard input.

`python -m tests.unit.telemetry.counting_process DIRECTORY DEPLOYMENT`; it says `ready`, then answers each
line: `count N` adds N requests and one latency each, `hold N` sets the requests in flight, `leave` ends it in
good order. To kill it is the caller's business.
"""

from __future__ import annotations

import sys
from pathlib import Path

from serving.telemetry import recording
from serving.telemetry.node_directory import NodeDirectory


def main() -> None:
    NodeDirectory(Path(sys.argv[1])).join(sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        order, _, number = line.strip().partition(" ")
        if order == "leave":
            return
        if order == "count":
            for _ in range(int(number)):
                recording.note_request("GET", "/healthz", 200, 0.003, None)
        elif order == "hold":
            recording.note_in_flight(int(number))
        print("done", flush=True)


if __name__ == "__main__":
    main()
