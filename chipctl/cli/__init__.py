"""The command line: one declaring and one doing function per command; results on stdout."""

import sys


def main() -> None:
    """Start `chipctl`; Ctrl-C while it still starts ends it as quietly as later."""
    try:
        from chipctl.cli.main import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
