"""A program: wait until all stores of the folder `DATA_DIR` agree with the log, then verify it.

    python -m tests.system.agreement TIMEOUT_S

One process for both commands, because to start one takes longer than to run them.
"""

import os
import sys
import time

import django
from django.core.management import CommandError, call_command

POLL_INTERVAL_S = 0.5


def main(*, timeout_s: float) -> None:
    """Exit 0 once `reconcile` finds no difference and `verify_events` finds the log whole."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
    django.setup()
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            call_command("reconcile")
            break
        except CommandError as error:
            if time.monotonic() > deadline:
                sys.exit(f"not within {timeout_s:.0f} s: {error}")
        time.sleep(POLL_INTERVAL_S)
    try:
        call_command("verify_events")
    except CommandError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(timeout_s=float(sys.argv[1]))
