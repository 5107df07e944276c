"""The pure part of the hand-over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ma2l.entry.merge import hide_preload, last_done, merge, parse

_NAME = st.binary(min_size=1).filter(
    lambda name: b"=" not in name and b"\0" not in name and not name.startswith(b"BASH_FUNC_")
)
_VALUE = st.binary().filter(lambda value: b"\0" not in value)
_ENVIRON = st.dictionaries(_NAME.filter(lambda name: name not in (b"PWD", b"OLDPWD", b"SHLVL", b"_")), _VALUE)


@given(_ENVIRON)
def test_a_dump_is_read_back(environ: dict[bytes, bytes]) -> None:
    assert parse(b"".join(b"%s=%s\0" % item for item in environ.items())) == environ


@given(_ENVIRON, _ENVIRON)
def test_a_child_that_changed_nothing_changes_nothing(before: dict[bytes, bytes], child: dict[bytes, bytes]) -> None:
    assert merge(before, child, child) == before


@given(_ENVIRON, _ENVIRON)
def test_a_child_that_had_everything_decides_everything(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> None:
    after = {name: value for name, value in after.items() if not name.startswith(b"__ma2l_")}
    before = {name: value for name, value in before.items() if not name.startswith(b"__ma2l_")}
    assert merge(before, before, after) == after


def test_what_belongs_to_the_childs_shell_stays_there() -> None:
    after = {
        b"PWD": b"/x",
        b"OLDPWD": b"/",
        b"SHLVL": b"3",
        b"_": b"/bin/env",
        b"BASH_FUNC_f%%": b"() { :; }",
        b"__ma2l_x": b"1",
    }
    assert merge({b"SHLVL": b"1"}, {}, after) == {b"SHLVL": b"1"}
    assert merge({b"PWD": b"/mine"}, {b"PWD": b"/"}, {}) == {b"PWD": b"/mine"}


def test_entries_without_a_name_or_a_value_are_no_variables() -> None:
    assert parse(b"A=1\0=x\0B\0A=2\0C=\0") == {b"A": b"1", b"C": b""}


def test_the_last_step_that_reported_counts() -> None:
    assert last_done(b"done 0 0\ndone 1 3\nlost 2 1\nall 2 0\n") == 1
    assert last_done(b"") is None


def test_preload_waits_under_another_name() -> None:
    assert hide_preload({b"LD_PRELOAD": b"x.so", b"A": b"1"}) == {b"MA2L_WORKER_LD_PRELOAD": b"x.so", b"A": b"1"}
    assert hide_preload({b"A": b"1"}) == {b"A": b"1"}
