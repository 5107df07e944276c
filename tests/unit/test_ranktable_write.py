"""Writing: atomic, 0640, never through a symbolic link, only where HCCL would read; canonical bytes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ma2l.errors import ConfigError, SystemRefused
from ma2l.ranktable import canonical, fingerprint, write


def test_file_has_content_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "table.json"
    for umask in (0o777, 0):
        before = os.umask(umask)
        try:
            write(b"{}\n", str(target))
        finally:
            os.umask(before)
        assert target.read_bytes() == b"{}\n"
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["table.json"]


def test_symbolic_link_is_replaced_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    target = tmp_path / "table.json"
    target.symlink_to(elsewhere)
    write(b"{}", str(target))
    assert not target.is_symlink()
    assert (target.read_bytes(), elsewhere.read_text()) == (b"{}", "untouched")


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(b"{}", "table.json")
    assert (tmp_path / "table.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["table.txt", "table", "table.json.bak", "a.json.json", "d.json.d/table.json"])
def test_path_hccl_would_not_read_is_refused(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    with pytest.raises(ConfigError) as caught:
        write(b"{}", path)
    assert str(caught.value) == (
        f"cannot write the rank table {path}: HCCL reads only a path that ends in .json and has .json nowhere else; "
        "choose another directory or name"
    )
    assert os.listdir(tmp_path) == []


def test_directory_that_resolves_to_a_forbidden_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real.json").mkdir()
    (tmp_path / "link").symlink_to("real.json")
    with pytest.raises(ConfigError):
        write(b"{}", str(tmp_path / "link" / "table.json"))


def test_a_place_where_no_file_can_be_is_the_user_s_mistake(tmp_path: Path) -> None:
    path = str(tmp_path / "missing" / "table.json")
    with pytest.raises(ConfigError) as caught:
        write(b"{}", path)
    assert str(caught.value) == f"cannot write the rank table {path}: No such file or directory; choose another place"


def test_a_refusal_of_the_system_is_worth_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    path = str(tmp_path / "table.json")
    with pytest.raises(SystemRefused) as caught:
        write(b"{}", path)
    assert str(caught.value) == f"cannot write the rank table {path}: No space left on device; choose another place"
    assert os.listdir(tmp_path) == []


def test_nothing_is_left_when_the_name_is_taken(tmp_path: Path) -> None:
    (tmp_path / "table.json").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        write(b"{}", str(tmp_path / "table.json"))
    assert os.listdir(tmp_path) == ["table.json"]


def test_fingerprint_is_sha256() -> None:
    assert fingerprint(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_canonical_bytes_are_exact() -> None:
    second = {"rank_id": "1", "device_id": "1", "note": "é"}
    first = {"device_id": "10", "rank_id": "0"}
    other = {"server_id": "t", "device": [{"rank_id": "2", "device_id": "0"}]}
    servers = [other, {"server_id": "s", "device": [second, first]}]
    assert canonical({"version": "1.0", "status": "completed", "server_list": servers}) == (
        b'{"server_list":[{"device":[{"device_id":"10","rank_id":"0"},'
        b'{"device_id":"1","note":"\\u00e9","rank_id":"1"}],"server_id":"s"},'
        b'{"device":[{"device_id":"0","rank_id":"2"}],"server_id":"t"}],"status":"completed","version":"1.0"}\n'
    )


def test_field_nested_too_deeply_is_refused() -> None:
    deep: object = "x"
    for _ in range(200_000):
        deep = [deep]
    document = {"server_list": [{"server_id": "s", "device": [{"rank_id": "0"}]}], "deep": deep}
    with pytest.raises(ConfigError, match="nested too deeply"):
        canonical(document)
