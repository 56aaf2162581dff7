"""How large a process stays."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from platform_site.memory import LARGE_BYTES

PROJECT = Path(__file__).resolve().parents[2]
THREADS = 4
# Hashes passwords in threads, as log-ins at the same time do, and tells how much it grew.
LOG_INS = f"""
import threading
import django
django.setup()
import psutil
from django.contrib.auth.hashers import make_password
make_password("warm")
before = psutil.Process().memory_full_info().uss
for _ in range(2):
    threads = [threading.Thread(target=make_password, args=("fish",)) for _ in range({THREADS})]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
print(psutil.Process().memory_full_info().uss - before)
"""


@pytest.mark.skipif(not psutil.LINUX, reason="other systems have other allocators")
def test_what_hashes_of_passwords_took_goes_back_to_the_system() -> None:
    grown = subprocess.run(
        [sys.executable, "-c", LOG_INS], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    # One hash takes 19 MiB; threads leave a little behind themselves.
    assert int(grown.stdout) < 8 * LARGE_BYTES
