"""A program that forks while it holds connections to the server: one lent, one not.

python -m tests.database.forking
"""

import os
import sys
import threading
import warnings

import django


def main() -> None:
    """Exit 0 when the child had connections of its own and left those of its parent alone."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
    django.setup()
    from django.db import connection

    from platform_site.database import pools

    def session() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            number: int = cursor.fetchone()[0]
            return number

    def use_and_close() -> None:
        unused.append(session())
        connection.close()

    unused: list[int] = []
    lent = session()
    thread = threading.Thread(target=use_and_close)
    thread.start()
    thread.join()
    assert [(each.size, each.in_use) for each in pools.snapshots()] == [(2, 1)]
    with warnings.catch_warnings():
        # The thread that keeps the pools is not needed in a child.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        assert pools.snapshots() == []
        assert session() not in {lent, *unused}
        connection.close()
        # Ends as a program does, with everything that it inherited being freed.
        return
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert session() == lent
    # The one that nobody has borrowed is still alive as well.
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(session()))
    thread.start()
    thread.join()
    assert found == unused
    sys.stdout.write("nothing is shared\n")


if __name__ == "__main__":
    main()
