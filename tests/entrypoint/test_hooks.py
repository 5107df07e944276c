"""What a hook may do, and what reaches the command. Constructs are those of hooks in the field."""

from __future__ import annotations

import os
import signal

import pytest

from tests.entrypoint.harness import Image

SURVIVES = {
    "traced": "set -x\nexport A=1\nset +x\n",
    "strict options": "set -eu\nexport A=1\n",
    "strict and failing": "set -eu\nexport A=1\nfalse\nexport A=2\n",
    "unset variable under -u": "set -u\nexport A=1\necho $NOBODY_SETS_THIS\n",
    "cd": "export A=1\ncd /\n",
    "cd or exit": "export A=1\ncd /does/not/exist || exit\n",
    "exit": "export A=1\nexit 3\n",
    "return": "export A=1\nreturn 0\nexport A=2\n",
    "exit trap": "trap 'echo bye' EXIT\nexport A=1\n",
    "exit trap and exit": "trap 'rc=$?; echo bye; exit $rc' EXIT\nexport A=1\nexit 4\n",
    "exit trap taken back": "trap 'echo bye' EXIT\ntrap - EXIT\nexport A=1\nexit 4\n",
    "trap in a subshell": "(trap 'echo bye' EXIT)\nexport A=1\n",
    "signal trap": "trap 'echo int' INT TERM\nexport A=1\n",
    "no shebang": "export A=1\n",
    "sh shebang": "#!/bin/sh\nexport A=1\n",
    "no final newline": "echo hello\n\nexport A=1",
    "CRLF": "#!/bin/bash\r\nset -x\r\nexport A=1\r\nif true; then\r\n  export B=2\r\nfi\r\n",
    "background child": 'export A=1\nsleep 300 &\necho $! > "$HOME/pid"\n',
    "no sudo": "export A=1\nno-such-sudo ./Ascend-cann-nnae.run --upgrade\n",
    "megabytes": "export A=1\nhead -c 5000000 /dev/zero | tr '\\0' 'x' | fold -w 99\n",
    "closed output": "exec >&- 2>&-\nexport A=1\n",
    "output elsewhere": "exec >/dev/null 2>&1\nexport A=1\n",
    "glob in echo": "echo ******\nexport A=1\n",
    "syntax error": "export A=1\nif then\n",
    "noclobber and noglob": "set -Cf\nexport A=1\n",
    "no umask": "umask 777\nexport A=1\n",
    "positional": "set -- a b c\nexport A=1\n",
    "lost PATH": "export A=1\nexport PATH=/nowhere\n",
    "stdin": "read -r LINE\nexport A=1\n",
    "readonly": "A=1\nreadonly A\nexport A\n",
    "allexport": "set -a\nA=1\n",
}


@pytest.mark.parametrize("text", SURVIVES.values(), ids=SURVIVES.keys())
def test_a_hook_of_any_kind_neither_ends_the_boot_nor_loses_its_exports(image: Image, text: str) -> None:
    image.hook(text)
    (image.code / "train.py").touch()
    result = image.result(cwd=image.code)
    pid = image.root / "home" / "pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert result.env["A"] == "1"
    assert "PWD" not in result.env
    assert not [name for name in result.env if name.startswith(("BASH_FUNC", "__ma2l", "SHLVL", "MA2L_BOOT"))]
    assert image.left_over() == []


def test_values_reach_the_command_byte_by_byte(image: Image) -> None:
    image.hook(b"export A='one\ntwo'\nexport B=$'\\xff\\xfe'\nexport C='a=b c\t\"'\nexport D=\nexport E=\xff\n")
    env = image.dump()
    assert (env["A"], env["B"], env["C"], env["D"]) == ("one\ntwo", "\udcff\udcfe", 'a=b c\t"', "")
    assert env["E"] == "\udcff"


def test_exports_path_and_unset_reach_the_command(image: Image) -> None:
    tool = image.file(image.root / "bin" / "my-tool", "#!/bin/sh\necho found\n", 0o755)
    image.hook(f'export PATH="{tool.parent}:$PATH"\nunset GONE\nexport KEPT="$KEPT:more"\nNOT_EXPORTED=1\n')
    env = image.dump({"GONE": "1", "KEPT": "some"})
    assert env["PATH"].startswith(f"{tool.parent}:")
    assert "GONE" not in env
    assert "NOT_EXPORTED" not in env
    assert env["KEPT"] == "some:more"
    assert image.run("my-tool", env={"GONE": "1"}).out == b"found\n"


def test_names_that_no_shell_can_hold_survive(image: Image) -> None:
    image.hook("export A=1\n")
    env = image.dump({"NPU-VISIBLE-DEVICES": "4", "odd.name": "x y", "BINARY": "\udcff"})
    assert (env["NPU-VISIBLE-DEVICES"], env["odd.name"], env["BINARY"], env["A"]) == ("4", "x y", "\udcff", "1")


def test_they_survive_without_any_hook(image: Image) -> None:
    assert image.dump({"NPU-VISIBLE-DEVICES": "4"})["NPU-VISIBLE-DEVICES"] == "4"


def test_functions_of_the_hook_stay_there_and_the_containers_own_stay_here(image: Image) -> None:
    image.hook("f() { :; }\nexport -f f\nexport A=1\n")
    env = image.dump({"BASH_FUNC_mine%%": "() {  :\n}"})
    assert "BASH_FUNC_f%%" not in env
    assert env["BASH_FUNC_mine%%"] == "() {  :\n}"
    assert env["A"] == "1"


def test_working_directory_of_the_hook_is_the_jobs_and_that_of_the_command_stays(image: Image) -> None:
    image.hook('export SEEN="$(pwd)"\ncd /\n')
    (image.code / "train.py").touch()
    elsewhere = image.root / "home"
    shown = image.run(
        "sh", "-c", 'printf %s "$SEEN@$(pwd)"', str(image.code / "train.py"), cwd=elsewhere
    ).out.decode()  # fmt: skip
    assert shown == f"{image.code.parent}@{elsewhere}"


def test_the_hook_finds_itself_by_zero_and_by_bash_source(image: Image) -> None:
    text = 'export BY_ZERO=$(cd "$(dirname "$0")"; pwd)\nexport BY_SOURCE=$(dirname "${BASH_SOURCE[0]}")\n'
    image.hook(text)
    env = image.dump()
    assert (env["BY_ZERO"], env["BY_SOURCE"]) == (str(image.code), str(image.code))
    image.hook(text.replace("\n", "\r\n"))
    env = image.dump()
    assert (env["BY_ZERO"], env["BY_SOURCE"]) == (str(image.code), str(image.code))


def test_output_is_shown_and_kept_in_the_log_directory(image: Image) -> None:
    image.hook("echo to stdout\necho to stderr >&2\n")
    result = image.result()
    log = (image.logs / "node0.pre-start.txt").read_text()
    assert log == "to stdout\nto stderr\n"
    assert log in result.err
    assert b"to stdout" not in result.out
    image.result({"VC_TASK_INDEX": "3"})
    image.result({"VC_TASK_INDEX": "3"})
    assert {path.name for path in image.logs.iterdir()} == {
        "node0.pre-start.txt", "node3.pre-start.txt", "node3.pre-start.attempt2.txt",
    }  # fmt: skip


def test_all_of_megabytes_of_output_is_shown(image: Image) -> None:
    image.hook("i=0\nwhile [ $i -lt 20000 ]; do echo line-$i-padded-to-some-length; i=$((i + 1)); done\n")
    shown = [line for line in image.result().err.splitlines() if line.startswith("line-")]
    assert shown == [f"line-{i}-padded-to-some-length" for i in range(20000)]


def test_exec_loses_the_exports_and_says_so(image: Image) -> None:
    image.hook("export A=1\nexec true\n")
    result = image.result()
    assert "A" not in result.env
    assert any("replaced its shell (exec)" in line for line in result.messages)


def test_after_exec_the_other_hooks_have_their_turn(image: Image) -> None:
    hooks = image.root / "opt" / "pre-start.d"
    image.file(hooks / "1.sh", "export A=1\n")
    image.file(hooks / "2.sh", "export B=1\nexec false\n")
    image.file(hooks / "3.sh", 'export C="saw $A"\n')
    env = image.dump()
    assert (env["A"], env["C"]) == ("1", "saw 1")
    assert "B" not in env


def test_failure_is_a_warning_unless_strict(image: Image) -> None:
    image.hook("export A=1\nexit 42\n")
    result = image.result()
    assert result.env["A"] == "1"
    assert any("ended with code 42" in line for line in result.messages)
    strict = image.result({"MA2L_PRE_START_STRICT": "1"})
    assert strict.code == 42
    assert strict.out == b""
    assert "cannot start" in strict.messages[-1]
    assert image.left_over() == []


def test_strict_stops_before_the_next_hook(image: Image) -> None:
    hooks = image.root / "opt" / "pre-start.d"
    image.file(hooks / "1.sh", "exit 9\n")
    image.file(hooks / "2.sh", "echo second\n")
    result = image.result({"MA2L_PRE_START_STRICT": "1"})
    assert result.code == 9
    assert "second" not in result.err
    assert "second" in image.result().err


def test_python_hook_runs_with_the_users_python(image: Image) -> None:
    image.file(image.root / "bin" / "python", '#!/bin/sh\necho "user python runs $1"\n', 0o755)
    hook = image.hook("raise SystemExit(1)\n", "ma-pre-start.py")
    result = image.result({"PATH": f"{image.root / 'bin'}:{os.environ['PATH']}"})
    assert f"user python runs {hook}" in result.err


def test_without_bash_hooks_run_under_sh(image: Image) -> None:
    path = image.root / "small"
    path.mkdir()
    for name in ("sh", "cat", "mktemp", "env", "ls", "sort", "grep", "sed", "rm", "ln", "mkdir", "sleep", "setsid",
                 "dirname", "readlink", "id", "tr", "busybox", "dash"):  # fmt: skip
        (path / name).symlink_to("/usr/bin/busybox" if name != "dash" else "/usr/bin/dash")
    image.hook('export A="${BASH_VERSION:-no bash}"\ncd /\nexit 3\n')
    if image.shell == ("bash",):
        image.shell = ("/bin/bash",)
    assert image.dump({"PATH": str(path)})["A"] == "no bash"


def test_preload_is_not_loaded_by_the_hooks_programs_and_composes(image: Image) -> None:
    image.hook('export SEEN=$(env | grep -c ^LD_PRELOAD=)\nexport LD_PRELOAD="libm.so.6:$LD_PRELOAD"\n')
    env = image.dump({"LD_PRELOAD": "libdl.so.2"})
    assert env["SEEN"] == "0"
    assert env["LD_PRELOAD"] == "libm.so.6:libdl.so.2"


def test_preload_without_a_hook_and_unset_by_one(image: Image) -> None:
    assert image.dump({"LD_PRELOAD": "libdl.so.2"})["LD_PRELOAD"] == "libdl.so.2"
    image.hook("unset LD_PRELOAD\n")
    assert "LD_PRELOAD" not in image.dump({"LD_PRELOAD": "libdl.so.2"})
