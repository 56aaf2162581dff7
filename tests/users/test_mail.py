"""E-mail as files."""

from email import message_from_bytes
from pathlib import Path

import pytest
from django.core.mail import EmailMessage
from django.test import override_settings

from tests.users.tools import at_once
from users.mail import FileBackend, file_name


def message(message_id: str = "<event-1@evenkeel.example>", body: str = "Hello") -> EmailMessage:
    return EmailMessage(
        subject="Money arrived: 12,50 \N{EURO SIGN}",
        body=body,
        from_email="notifications@evenkeel.example",
        to=["ada@example.com"],
        headers={"Message-ID": message_id},
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_message_becomes_a_file_named_after_its_id(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    with override_settings(EMAIL_FILE_PATH=folder):
        assert FileBackend().send_messages([message()]) == 1
    assert files(folder) == ["event-1.eml"]
    read = message_from_bytes((folder / "event-1.eml").read_bytes())
    assert (read["To"], read["Message-ID"]) == ("ada@example.com", "<event-1@evenkeel.example>")


def test_the_same_message_twice_is_one_file_and_the_first_stays(tmp_path: Path) -> None:
    with override_settings(EMAIL_FILE_PATH=tmp_path):
        assert FileBackend().send_messages([message(body="first")]) == 1
        assert FileBackend().send_messages([message(body="second")]) == 1
    assert files(tmp_path) == ["event-1.eml"]
    assert b"first" in (tmp_path / "event-1.eml").read_bytes()
    assert FileBackend.idempotent


def test_simultaneous_sendings_leave_one_whole_file(tmp_path: Path) -> None:
    with override_settings(EMAIL_FILE_PATH=tmp_path):
        at_once([lambda: FileBackend().send_messages([message(body="x" * 100_000)])] * 4)
    assert files(tmp_path) == ["event-1.eml"]
    assert (tmp_path / "event-1.eml").stat().st_size > 100_000


@pytest.mark.parametrize(
    "message_id",
    [
        "<../../etc/passwd@evenkeel.example>",
        "</etc/passwd@evenkeel.example>",
        "<..@evenkeel.example>",
        "<.hidden@evenkeel.example>",
        "<@evenkeel.example>",
        "<a\\b@evenkeel.example>",
        "<a\0b@evenkeel.example>",
        "<" + "a" * 500 + "@evenkeel.example>",
        "<\u00fc@evenkeel.example>",
        "no brackets",
        "",
    ],
)
def test_no_message_id_leads_out_of_the_folder(message_id: str) -> None:
    name = file_name(message_id)
    assert len(name) == 64 + len(".eml")
    assert name.isascii()
    assert name[0] not in "./"
    assert name.removesuffix(".eml").isalnum()


def test_different_strange_ids_have_different_names() -> None:
    assert file_name("<a/b@x.example>") != file_name("<a/c@x.example>")


def test_a_message_to_nobody_is_not_sent(tmp_path: Path) -> None:
    nobody = message()
    nobody.to = []
    with override_settings(EMAIL_FILE_PATH=tmp_path):
        assert FileBackend().send_messages([nobody]) == 0
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error_unless_silence_is_asked(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with override_settings(EMAIL_FILE_PATH=tmp_path / "file"):
        with pytest.raises(OSError, match="file"):
            FileBackend().send_messages([message()])
        assert FileBackend(fail_silently=True).send_messages([message()]) == 0
