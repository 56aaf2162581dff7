"""One run of the demo, from an empty folder to the end of its last process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import httpx
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connections

from platform_site import env
from platform_site.demo import folder as demo_folder
from platform_site.demo import processes
from platform_site.demo.people import Admin, ensure_admin, person
from platform_site.demo.report import Progress, print_summary, step_printer
from platform_site.demo.stage import REQUEST_TIMEOUT_S, Person, Story
from platform_site.demo.story import STEPS, play
from platform_site.supervisor import Child, Supervisor


class CannotStart(Exception):
    """Something outside the demo is in its way; the message says what."""


def run(*, folder: Path, port: int, once: bool, progress: Progress) -> bool:
    """Start everything, play the story, stop everything; return whether the story went well.

    Args:
        folder: of everything the demo keeps; `settings.DATA_DIR`.
        port: of the web server on loopback; 0 for a free one.
        once: stop after the story, instead of running until a signal asks to stop.
        progress: says what happens.

    Raises:
        FolderUnusable, PortUnusable, CannotStart, ChildFailed: in a sentence for people.
    """
    lock = demo_folder.lock(folder)
    port = processes.choose_port(port)
    url = f"http://{processes.HOST}:{port}"
    demo_folder.sign(lock, url=url)
    announcement = _Announcement(folder / "quickstart.json")
    progress.say(f"Data folder {folder}")
    cast = _prepare(folder, progress)
    supervisor = Supervisor(on_change=announcement.update, say=progress.say, pass_fds=(lock,))
    with _stopped_at_the_end(supervisor, progress):
        _start(supervisor, folder=folder, port=port, progress=progress)
        progress.say(f"Playing the story in {len(STEPS)} steps")
        with httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
            story = Story(
                http=http,
                admin_key=cast.admin.api_key,
                alice=cast.alice,
                bob=cast.bob,
                mail_folder=Path(settings.EMAIL_FILE_PATH),
            )
            went_well = play(story, show=step_printer())
        announcement.publish(url=url, admin=cast.admin)
        if went_well:
            print_summary(
                url=url, story=story, email=cast.admin.email, password=cast.admin.password
            )
        else:
            progress.say(f"The story went wrong. Logs are in {folder / 'logs'}")
        if not once:
            progress.say("Running. Ctrl-C stops everything")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
            announcement.withdraw()
    return went_well


@dataclass(frozen=True, slots=True)
class _Cast:
    admin: Admin
    alice: Person
    bob: Person


def _prepare(folder: Path, progress: Progress) -> _Cast:
    """Bring the database up to date, and the demo's people into it."""
    progress.say("Migrating the database")
    remembered = demo_folder.read(folder / "demo.json")
    try:
        call_command("migrate", verbosity=0, interactive=False)
        admin = ensure_admin(remembered.get("admin", {}), now=datetime.now(UTC))
    except DatabaseError as error:
        raise CannotStart(f"The database cannot be prepared: {error}") from error
    finally:
        connections.close_all()
    cast = _Cast(
        admin,
        person("Alice", remembered.get("alice", {})),
        person("Bob", remembered.get("bob", {})),
    )
    demo_folder.write(
        folder / "demo.json",
        {
            "admin": {"password": admin.password, "api_key": admin.api_key},
            "alice": {"email": cast.alice.email, "password": cast.alice.password},
            "bob": {"email": cast.bob.email, "password": cast.bob.password},
        },
    )
    return cast


def _start(supervisor: Supervisor, *, folder: Path, port: int, progress: Progress) -> None:
    """Start the processes, and return once all of them serve."""
    hosts = {*settings.ALLOWED_HOSTS, processes.HOST}
    environment = env.for_child(
        DATA_DIR=str(folder), ALLOWED_HOSTS=",".join(sorted(hosts)), PYTHONUNBUFFERED="1"
    )
    broker_url = settings.REDIS_URL
    if not broker_url:
        valkey = processes.valkey(folder, env=environment)
        progress.say("Starting valkey")
        supervisor.start(valkey.child)
        supervisor.wait_until_ready("valkey", timeout_s=processes.READY_TIMEOUT_S)
        broker_url = valkey.url
    environment = {**environment, "REDIS_URL": broker_url}
    children: tuple[Child, ...] = (
        processes.web(folder, env=environment, port=port),
        processes.worker(folder, env=environment, broker_url=broker_url),
        processes.beat(folder, env=environment),
    )
    progress.say(f"Starting {', '.join(child.name for child in children)}")
    for child in children:
        supervisor.start(child)
    for child in children:
        supervisor.wait_until_ready(child.name, timeout_s=processes.READY_TIMEOUT_S)
        progress.say(f"{child.name} {'answers' if child.ready else 'runs'}")


class _Announcement:
    """`quickstart.json`: absent until all answers, then kept up to date with the pids.

    `--once` leaves it: it holds the credentials of the data which that run made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {}
        self._pids: dict[str, int] = {}
        # That of an earlier run would say what is no longer so.
        self.withdraw()

    def update(self, pids: dict[str, int]) -> None:
        """Note the children's pids, which change when one is started again."""
        with self._lock:
            self._pids = pids
            self._write()

    def publish(self, *, url: str, admin: Admin) -> None:
        """Tell other programs where the running demo is."""
        with self._lock:
            self._facts = {
                "url": url,
                "admin_url": f"{url}/admin/",
                "admin": {
                    "email": admin.email,
                    "password": admin.password,
                    "api_key": admin.api_key,
                },
            }
            self._write()

    def withdraw(self) -> None:
        """Remove the file: nothing can be reached any more."""
        with self._lock:
            self._facts = {}
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._facts:
            demo_folder.write(self._path, {**self._facts, "pids": self._pids})


@contextmanager
def _stopped_at_the_end(supervisor: Supervisor, progress: Progress) -> Iterator[None]:
    """Stop all children at the end of the block, however it ends; a second signal forces it."""
    ending = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        if ending:
            supervisor.force()
            return
        ending = True
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, on_signal)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        ending = True
        progress.say("Stopping (Ctrl-C again to force it)")
        supervisor.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
        progress.say("Stopped; nothing of it runs any more")
