"""How a process ends that exchanged tensors with others."""

import atexit
import os
import sys
from typing import NoReturn


def end_process(code: int = 0) -> NoReturn:
    """Exit with `code`; at once, once the exit functions have run, if torch.distributed connected this process.

    Gloo's threads let go of the last tensors they sent whenever they get to it, and need Python's lock for that. One
    that asks for it while the interpreter is torn down is ended inside a destructor, and C++ then ends the process with
    SIGABRT, although all its files are written. Destroying the group does not end those threads where sharded weights
    still hold it. So nothing is torn down. After a failure the group is left as it is: the others may wait in it, and
    their launcher ends them.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        sys.exit(code)
    if code == 0:
        distributed.destroy_process_group()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
