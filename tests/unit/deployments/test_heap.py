"""A replica that has loaded all: what it holds is not looked at again, and what it drops is still found."""

import subprocess
import sys

SCRIPT = """
import gc, weakref
from serving.deployments.replica import YOUNG_OBJECTS, settle_heap

class Node:
    pass

def make_cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

gc.disable()
before = make_cycle()
gc.enable()
held = [Node() for _ in range(1000)]
settle_heap()
assert before() is None, "what was garbage already stays for ever"
assert gc.get_freeze_count() > len(held)
assert not any(isinstance(each, Node) for each in gc.get_objects())
assert gc.get_threshold()[0] == YOUNG_OBJECTS
after = make_cycle()
for _ in range(2):
    young = [Node() for _ in range(YOUNG_OBJECTS)]
assert after() is None, "nothing is collected by itself any more"
"""


def test_collections_pass_over_what_a_replica_has_loaded_and_still_take_place() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
