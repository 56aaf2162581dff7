"""The key that signs tree heads: given, or made once and kept from others."""

from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from platform_site import env

KEY = b64encode(bytes(32)).decode()


def test_a_key_is_made_once_and_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TREE_HEAD_KEY", raising=False)
    made = env.tree_head_key(tmp_path)
    assert len(b64decode(made, validate=True)) == 32
    assert env.tree_head_key(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["tree_head_key"]
    assert (tmp_path / "tree_head_key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_given_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREE_HEAD_KEY", KEY)
    assert env.tree_head_key(tmp_path) == KEY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["x", KEY[:-4], f"{KEY}AAAA", "=" * 44])
def test_what_is_no_key_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TREE_HEAD_KEY", value)
    with pytest.raises(ImproperlyConfigured, match="TREE_HEAD_KEY must hold 32 bytes"):
        env.tree_head_key(tmp_path)
    monkeypatch.setenv("TREE_HEAD_FORMER_KEYS", f"{KEY},{value}")
    with pytest.raises(ImproperlyConfigured, match="TREE_HEAD_FORMER_KEYS must hold 32 bytes"):
        env.former_tree_head_keys()


def test_a_file_that_holds_no_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREE_HEAD_KEY", raising=False)
    (tmp_path / "tree_head_key").write_text("")
    with pytest.raises(ImproperlyConfigured, match=r"tree_head_key must hold 32 bytes"):
        env.tree_head_key(tmp_path)


@pytest.mark.parametrize("name", ["a b", "a+b", "a\nb", "x" * 201, "a\u2003b"])
def test_what_no_log_can_be_called_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_ORIGIN", name)
    with pytest.raises(ImproperlyConfigured, match="LOG_ORIGIN"):
        env.log_origin()
