"""Names in the object store, keys and endpoints: what cannot escape, and what is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import ConfigError
from ma2l.obs.access import Access, access, parse_hosts
from ma2l.obs.client import Stored
from ma2l.obs.request import Request, Root, as_json, noted
from ma2l.obs.upload import File, missing, plan
from ma2l.obs.url import Url, parse

KEYS = {"OBS_ACCESS_KEY_ID": "AKIDOFATEST", "OBS_SECRET_ACCESS_KEY": "s3cret"}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("obs://bkt", Url("bkt", "")),
        ("obs://bkt/", Url("bkt", "")),
        ("s3://bkt/a/b", Url("bkt", "a/b/")),
        ("obs://my.bkt-1//a/b//", Url("my.bkt-1", "a/b/")),
    ],
)
def test_a_place(text: str, url: Url) -> None:
    assert parse(text) == url


@pytest.mark.parametrize(
    "text", ["", "bkt/x", "obs:/bkt", "obs://b", "obs://Bkt", "obs://a..b/", "obs://-bkt", "https://bkt/x", "obs://bkt/a/../b",
             "obs://bkt/a//b", "obs://bkt/a\nb", "obs://bkt/" + "x" * 600]
)  # fmt: skip
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot use .* as a place in OBS: "):
        parse(text)


@given(
    st.binary(min_size=1, max_size=40).map(os.fsdecode)
    | st.text(max_size=20)
    | st.from_regex(r"(\.{0,2}/){0,3}\.{1,3}")
)
def test_no_file_s_name_leads_out_of_the_place(path: str) -> None:
    url = parse("obs://bkt/a/b")
    try:
        name = url.object_name(path)
    except (ValueError, UnicodeEncodeError):
        return
    assert name.startswith("a/b/")
    assert name.encode()
    assert os.path.normpath("/" + name).startswith("/a/b/")


def test_names_that_no_store_takes() -> None:
    url = parse("obs://bkt/a")
    assert url.object_name(os.fsdecode(b"\xff%")) == "a/%FF%"
    assert url.object_name("中") == "a/中"
    for path in ("../x", "/x", "a//b", ".", "a\\b", "a\0", "x" * 2000):
        with pytest.raises(ValueError):
            url.object_name(path)


@pytest.mark.parametrize(
    ("environ", "option", "endpoint"),
    [
        ({"OBS_ENDPOINT": "obs.x.com"}, None, "https://obs.x.com"),
        ({"OBS_ENDPOINT": "http://127.0.0.1:5"}, None, "http://127.0.0.1:5"),
        ({"S3_ENDPOINT": "obs.x.com", "S3_USE_HTTPS": "1"}, None, "https://obs.x.com"),
        ({"S3_ENDPOINT": "obs.x.com", "S3_USE_HTTPS": "0", "S3_VERIFY_SSL": "0"}, None, "http://obs.x.com"),
        ({"S3_ENDPOINT": "obs.x.com", "S3_USE_HTTPS": "0", "OBS_ENDPOINT": "obs.y.com"}, None, "https://obs.y.com"),
        ({"OBS_ENDPOINT": "obs.x.com"}, "https://obs.z.com/", "https://obs.z.com"),
    ],
)
def test_where_the_store_is(environ: dict[str, str], option: str | None, endpoint: str) -> None:
    assert access({**KEYS, **environ}, option, None, None).endpoint == endpoint


def test_an_unencrypted_store_is_told_unless_it_is_this_machine() -> None:
    assert Access("http://obs.x.com:80", "k", "s").plain
    assert not Access("https://obs.x.com", "k", "s").plain
    assert not Access("http://127.0.0.1:99", "k", "s").plain
    assert not Access("http://localhost:99", "k", "s").plain


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" fr0m-file \n")
    environ = {"OBS_ACCESS_KEY_ID": "AKIDOFATEST", "OBS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret"),
               "OBS_SECURITY_TOKEN": "t0ken", "OBS_ENDPOINT": "obs.x.com"}  # fmt: skip
    found = access(environ, None, None, None)
    assert (found.secret, found.token) == ("fr0m-file", "t0ken")
    for secret in ("AKIDOFATEST", "fr0m-file", "t0ken"):
        assert secret not in repr(found)


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_missing_key_is_named(name: str) -> None:
    environ = {key: value for key, value in KEYS.items() if key != name}
    with pytest.raises(ConfigError, match=rf"^cannot talk to OBS: {name} is not set; set it, or {name}_FILE"):
        access({**environ, "OBS_ENDPOINT": "x"}, None, None, None)


def test_the_map_of_hosts() -> None:
    assert parse_hosts("A.com=1.2.3.4, b.com=::1") == (("a.com", "1.2.3.4"), ("b.com", "::1"))
    assert parse_hosts(None) == ()
    for wrong in ("a.com", "a.com=b.com", "=1.2.3.4"):
        with pytest.raises(ConfigError, match="is no name=ip"):
            parse_hosts(wrong)


def test_what_is_sent_and_in_which_order(tmp_path: Path) -> None:
    for name, size in (("node0.log", 5), ("node1.log", 1), ("a/deep/worker_0.log", 3), ("x.part", 1), ("node0.big", 9)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    roots = [Root(str(tmp_path), "logs", ("node0.*", "a/*")), Root(str(tmp_path), "", ("x.*",))]
    files, complaints = plan(roots, Url("bkt", "p/"))
    assert [(file.name, file.size) for file in files] == [
        ("p/logs/a/deep/worker_0.log", 3), ("p/logs/node0.log", 5), ("p/logs/node0.big", 9),
    ]  # fmt: skip
    assert complaints == []


def test_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"hello")
    file = File(str(path), "f", 5)
    md5 = "5d41402abc4b2a76b9719d911017c592"
    assert missing([file], {}) == [file]
    assert missing([file], {"f": Stored(4, md5)}) == [file]
    assert missing([file], {"f": Stored(5, "0" * 32)}) == [file]
    assert missing([file], {"f": Stored(5, md5)}) == []
    assert missing([file], {"f": Stored(5, "abc-2")}) == []  # sent in parts: only its size can be compared


def test_a_note_survives_a_move_of_the_logs(tmp_path: Path) -> None:
    request = Request(
        "obs://bkt/x/", (Root("/old/logs", "logs", ("node0.*",)), Root("/out", "")), "https://e", None, "ca"
    )
    (tmp_path / "node0.upload.json").write_text(as_json(request))
    (found,) = noted(str(tmp_path))
    assert found.roots[0].directory == str(tmp_path)
    assert (found.roots[1], found.endpoint, found.hosts, found.ca_file) == (Root("/out", ""), "https://e", None, "ca")
    assert noted(str(tmp_path / "node0.upload.json")) == [found]
