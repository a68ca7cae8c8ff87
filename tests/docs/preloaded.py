"""Runs `chipctl` again and again without importing it again: each line of stdin is one command, as JSON.

A command has `words`, `env`, `folder` and `output`, the file for all that it prints. Answers with two lines:
the number of its process, and, when it has ended, its exit status.
"""

import json
import os
import sys

import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401 - takes longest of all to import

from chipctl.cli.main import run


def become(command):
    """Be `chipctl` with these words, and nothing else."""
    os.chdir(command["folder"])
    os.environ.update(command["env"])
    written = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, written, written)):
        os.dup2(descriptor, number)
    sys.argv = ["chipctl", *command["words"]]
    run()


def main():
    """Fork for each command."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        tell(child)
        tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def tell(number):
    """One line of the answer."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
