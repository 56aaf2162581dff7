"""MariaDB: the primary store."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.service import HOST, Need, Service, ServiceFailed, State, program

DATABASE = "evenkeel"
INSTALL_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 1.0
# The protocol's version, the first byte that a server says behind the header of its packet.
_GREETING_OFFSET, _GREETING = 4, 10


# What mysqlclient looks for when it is compiled.
_CLIENT_LIBRARIES = ("mysqlclient", "mariadb", "libmariadb", "perconaserverclient")


def _has_client_library() -> bool:
    return program("pkg-config")() and any(
        subprocess.call(["pkg-config", "--exists", name]) == 0  # noqa: S603, S607
        for name in _CLIENT_LIBRARIES
    )


def _has_python_headers() -> bool:
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


def _account(folder: Path) -> list[str]:
    """Return the option that says as whom to run, which only root may choose.

    As `mysql`, if it can come to `folder`; in a checkout that is closed to others (`/root`) as
    root itself: the account inside the database that anybody is told of may read no files.
    """
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("mysql")
    except KeyError:
        return ["--user=root"]
    reach = subprocess.run(  # noqa: S603
        ["/usr/bin/env", "test", "-x", str(folder)],
        user="mysql",
        group="mysql",
        extra_groups=[],
        check=False,
    )
    return ["--user=mysql" if reach.returncode == 0 else "--user=root"]


def _prepare(folder: Path, state: State) -> None:
    """Make the data once, and the statements that each start begins with."""
    data = folder / "data"
    account = _account(folder)
    if not (data / "mysql").is_dir():
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        _own(data, account)
        done = subprocess.run(  # noqa: S603
            [  # noqa: S607
                "mariadb-install-db",
                "--no-defaults",
                *account,
                f"--datadir={data}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceFailed(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
    first = data / "first.sql"
    first.unlink(missing_ok=True)
    first.touch(mode=0o600)
    first.write_text(_statements(state.secrets["password"]))
    _own(first, account)


def _own(path: Path, account: Sequence[str]) -> None:
    if "--user=mysql" in account:
        shutil.chown(path, "mysql", "mysql")


def _statements(password: str) -> str:
    """Return what makes the database and its user, on one line each.

    The user may make what tests need, databases whose name begins with `test_`, and nothing else.
    """
    user = f"'{DATABASE}'@'{HOST}'"
    return "\n".join(
        (
            f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4;",
            f"CREATE USER IF NOT EXISTS {user};",
            f"ALTER USER {user} IDENTIFIED BY '{password}';",
            f"GRANT ALL ON {DATABASE}.* TO {user};",
            f"GRANT ALL ON `test\\_%`.* TO {user};",
            "",
        )
    )


def _command(folder: Path, state: State) -> list[str]:
    """Return the server's command line.

    The socket and the file of the pid are relative: the server changes into its data, and the
    path of a socket must be shorter than that of many a checkout.
    """
    return [
        "mariadbd",
        "--no-defaults",
        *_account(folder),
        f"--datadir={folder / 'data'}",
        f"--bind-address={HOST}",
        f"--port={state.port}",
        "--socket=mariadb.sock",
        "--pid-file=mariadb.pid",
        "--init-file=first.sql",
        "--character-set-server=utf8mb4",
        # As in production: what was committed survives a power cut.
        "--innodb-flush-log-at-trx-commit=1",
        "--skip-name-resolve",
    ]


def _answers(state: State) -> bool:
    """Return whether a server greets on the port: it does so once it serves."""
    try:
        with socket.create_connection((HOST, state.port), PROBE_TIMEOUT_S) as connection:
            greeting = connection.recv(_GREETING_OFFSET + 1)
    except OSError:
        return False
    return len(greeting) > _GREETING_OFFSET and greeting[_GREETING_OFFSET] == _GREETING


def _variables(state: State) -> Mapping[str, str]:
    password = state.secrets["password"]
    return {"DATABASE_URL": f"mysql://{DATABASE}:{password}@{HOST}:{state.port}/{DATABASE}"}


def _new_secrets() -> dict[str, str]:
    """Return the secrets of a new server: the password of its user."""
    return {"password": secrets.token_hex(16)}


SERVICE = Service(
    name="mariadb",
    needs=(
        # The bare programs: `mariadb-server` would start a server of the system.
        Need("mariadb-server-core", program("mariadbd")),
        Need("mariadb-client-core", program("my_print_defaults")),
        # To compile the driver.
        Need("libmariadb-dev", _has_client_library),
        Need("pkg-config", program("pkg-config")),
        Need("gcc", program("cc")),
        Need("python3-dev", _has_python_headers),
    ),
    instead="Install MariaDB 10.11 or later with the headers of its client, and pkg-config"
    " (macOS: brew install mariadb pkg-config), or set DATABASE_URL to a server of yours.",
    port_variable="MARIADB_PORT",
    new_secrets=_new_secrets,
    prepare=_prepare,
    command=_command,
    answers=_answers,
    variables=_variables,
)
