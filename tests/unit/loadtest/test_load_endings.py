"""What a benchmark started is gone when it has measured, whether or not it wants to go."""

import subprocess
import sys

import psutil
import pytest

from loadtest.empty_graph import end_process

PARENT = (
    "import signal, subprocess, sys\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN if sys.argv[1] == 'deaf' else signal.SIG_DFL)\n"
    "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "child.wait()"
)


@pytest.mark.parametrize("manner", ["heeds", "deaf"])
def test_a_process_and_its_descendants_end_even_when_it_is_deaf_to_ctrl_c(manner: str) -> None:
    command = [sys.executable, "-S", "-c", PARENT, manner]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    end_process(process, 0.5)
    process.stdout.close()
    assert process.returncode is not None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
