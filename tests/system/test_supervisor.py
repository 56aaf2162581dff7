"""The supervisor, with small real processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_site.supervisor import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    Child,
    ChildFailed,
    Supervisor,
    backoff_s,
)
from tests.system.tools import all_end, eventually, is_running

pytestmark = pytest.mark.system

SLEEP = "import time; time.sleep(600)"

MakeChild = Callable[..., Child]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    running = Supervisor(on_change=lambda _: None, say=lambda _: None, stop_grace_s=1.0)
    yield running
    running.stop()


@pytest.fixture
def child(tmp_path: Path) -> MakeChild:
    def make(
        code: str = SLEEP, *, name: str = "child", ready: Callable[[], bool] | None = None
    ) -> Child:
        return Child(
            name=name,
            argv=[sys.executable, "-I", "-S", "-c", textwrap.dedent(code)],
            env=dict(os.environ),
            log_path=tmp_path / f"{name}.log",
            ready=ready,
        )

    return make


def pids_in(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_a_child_that_dies_is_started_again(supervisor: Supervisor, child: MakeChild) -> None:
    supervisor.start(child())
    first = supervisor.pids()["child"]
    os.kill(first, signal.SIGKILL)
    second = eventually(
        lambda: next((pid for pid in supervisor.pids().values() if pid != first), 0),
        what="another pid",
    )
    assert is_running(second)


def test_whoever_asks_is_told_of_the_new_pid(child: MakeChild) -> None:
    told: list[dict[str, int]] = []
    supervisor = Supervisor(on_change=told.append, say=lambda _: None)
    try:
        supervisor.start(child())
        os.kill(told[0]["child"], signal.SIGKILL)
        eventually(lambda: len(told) > 1, what="a second report")
        assert told[1]["child"] != told[0]["child"]
    finally:
        supervisor.stop()


def test_what_a_killed_child_had_started_is_ended_with_it(
    supervisor: Supervisor, child: MakeChild, tmp_path: Path
) -> None:
    supervisor.start(child("import os, time; print(os.fork(), flush=True); time.sleep(600)"))
    pid = supervisor.pids()["child"]
    log = tmp_path / "child.log"
    both = eventually(lambda: pids_in(log) if len(pids_in(log)) == 2 else [], what="a fork")
    os.kill(pid, signal.SIGKILL)
    all_end({pid, *both} - {0})


def test_children_are_stopped_in_reverse_order(child: MakeChild, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    code = """
        import pathlib, signal, time
        def stop(*_):
            with open({path!r}, "a") as file: file.write("{name}\\n")
            raise SystemExit
        signal.signal(signal.SIGTERM, stop)
        print("ready", flush=True)
        time.sleep(600)
    """
    supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None)
    for name in ("first", "second", "third"):
        log = tmp_path / f"{name}.log"
        supervisor.start(
            child(
                code.format(path=str(stopped), name=name),
                name=name,
                ready=lambda log=log: "ready" in log.read_text(),
            )
        )
        supervisor.wait_until_ready(name, timeout_s=10)
    supervisor.stop()
    assert stopped.read_text().split() == ["third", "second", "first"]


def test_a_child_that_ignores_the_request_to_stop_is_killed(
    child: MakeChild, tmp_path: Path
) -> None:
    code = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(600)
    """
    supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None, stop_grace_s=0.3)
    log = tmp_path / "child.log"
    supervisor.start(child(code, ready=lambda: "ready" in log.read_text()))
    supervisor.wait_until_ready("child", timeout_s=10)
    pid = supervisor.pids()["child"]
    supervisor.stop()
    assert not is_running(pid)


def test_a_forced_stop_waits_for_nobody(child: MakeChild, tmp_path: Path) -> None:
    code = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(600)
    """
    supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None, stop_grace_s=60)
    log = tmp_path / "child.log"
    supervisor.start(child(code, ready=lambda: "ready" in log.read_text()))
    supervisor.wait_until_ready("child", timeout_s=10)
    supervisor.force()
    started = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - started < 10


def test_a_child_that_was_killed_already_does_not_hinder_the_stop(child: MakeChild) -> None:
    supervisor = Supervisor(on_change=lambda _: None, say=lambda _: None)
    supervisor.start(child(name="one"))
    supervisor.start(child(name="two"))
    pids = supervisor.pids().values()
    os.kill(supervisor.pids()["one"], signal.SIGKILL)
    supervisor.stop()
    assert not any(is_running(pid) for pid in pids)


def test_the_message_about_a_child_that_fails_to_start_ends_with_its_last_words(
    supervisor: Supervisor, child: MakeChild
) -> None:
    supervisor.start(child("raise SystemExit('the disk is full')", ready=lambda: False))
    with pytest.raises(ChildFailed, match=r"(?s)child ended with code 1.*the disk is full"):
        supervisor.wait_until_ready("child", timeout_s=10)


def test_a_child_that_never_answers_is_given_up(supervisor: Supervisor, child: MakeChild) -> None:
    supervisor.start(child(ready=lambda: False))
    with pytest.raises(ChildFailed, match="did not answer within 0 s"):
        supervisor.wait_until_ready("child", timeout_s=0.2)


def test_a_program_that_does_not_exist_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    missing = Child(name="web", argv=["/no/such"], env={}, log_path=tmp_path / "web.log")
    with pytest.raises(ChildFailed, match=r"web cannot be started.*/no/such"):
        supervisor.start(missing)


def test_a_supervisor_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from pathlib import Path
        from platform_site.supervisor import Child, Supervisor
        supervisor = Supervisor(on_change=lambda pids: print(*pids.values(), flush=True), say=print)
        supervisor.start(Child(
            name="child",
            argv=[sys.executable, "-c", "import os, time; os.fork(); time.sleep(600)"],
            env=dict(os.environ),
            log_path=Path(sys.argv[1]),
        ))
        time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    all_end([pid])
    eventually(lambda: not group_is_running(pid), what="the end of the whole group")


def group_is_running(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return any(is_running(other) for other in members(pid))


def members(group: int) -> list[int]:
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _group_of(int(entry.name)) == group
    ]


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def test_the_wait_before_a_start_doubles_up_to_its_limit() -> None:
    waits = [backoff_s(failures) for failures in range(1, 100)]
    assert waits[:3] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF_MAX_S
