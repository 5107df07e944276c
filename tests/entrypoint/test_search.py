"""Which hook is found, what else happens before the start, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.entrypoint.harness import DUMP, Image, function, only


def _places(image: Image) -> dict[str, Path]:
    """A hook in every place, each exporting where it lies."""
    places = {
        "named": image.root / "named.sh",
        "beside the boot file": image.code / "ma-pre-start.sh",
        "job directory": image.code.parent / "zzz" / "ma-pre-start.sh",
        "working directory": image.root / "home" / "ma-pre-start.sh",
        "image": image.root / "opt" / "pre-start.d" / "10.sh",
    }
    for name, path in places.items():
        image.file(path, f"export PLACE='{name}'\n")
    image.file(image.code / "boot" / "train.py")
    image.file(image.code / "boot" / "ma-pre-start.sh", "export PLACE='beside the boot file'\n")
    (image.code / "ma-pre-start.sh").unlink()
    places["beside the boot file"] = image.code / "boot" / "ma-pre-start.sh"
    return places


def test_the_first_place_with_a_hook_wins(image: Image) -> None:
    places = _places(image)
    boot = str(image.code / "boot" / "train.py")
    for name, path in places.items():
        env = {"MA2L_PRE_START": str(path)} if name == "named" else {}
        shown = image.run("sh", "-c", 'printf %s "$PLACE"', boot, env=env, cwd=image.root / "home")
        assert shown.out.decode() == name, shown.err
        path.unlink()
    assert image.run("sh", "-c", 'printf %s "$PLACE"', boot, cwd=image.root / "home").out == b""


def test_without_a_job_directory_the_root_directory_is_not_searched(image: Image) -> None:
    found = image.run("sh", "-c", ":", env={"MA_JOB_DIR": None}, cwd=image.root)
    assert (found.code, found.err) == (0, "")


def test_a_named_hook_that_does_not_exist_is_a_configuration_error(image: Image) -> None:
    result = image.result({"MA2L_PRE_START": "/no/such/hook.sh"})
    assert result.code == 78
    assert result.err.count("\n") == 1
    assert "cannot run MA2L_PRE_START=/no/such/hook.sh" in result.err
    assert image.left_over() == []


def test_a_named_hook_may_be_relative_and_called_anything(image: Image) -> None:
    image.hook("export A=1\n", "prepare")
    assert image.dump({"MA2L_PRE_START": "prepare"})["A"] == "1"
    assert "A" not in image.dump({"MA2L_PRE_START": "/dev/null"})


def test_all_of_a_directory_runs_in_the_order_of_versions(image: Image) -> None:
    hooks = image.root / "my hooks"
    for name in ("2-two.sh", "10-ten.envsh", "1-one.sh"):
        image.file(hooks / name, f'export ORDER="${{ORDER:-}} {name}"\n')
    image.file(hooks / "3-tool", '#!/bin/sh\necho "tool after$ORDER"\nexport ORDER=lost\n', 0o755)
    image.file(hooks / "README", "not a hook\n")
    result = image.result({"MA2L_PRE_START": str(hooks)})
    assert result.env["ORDER"] == " 1-one.sh 2-two.sh 10-ten.envsh"
    assert "tool after 1-one.sh 2-two.sh\n" in result.err
    assert any(f"ignoring {hooks}/README" in line for line in result.messages)


def test_options_traps_and_functions_of_one_hook_do_not_reach_the_next(image: Image) -> None:
    hooks = image.root / "opt" / "pre-start.d"
    image.file(hooks / "1.sh", "set -eu\ncd /\nf() { :; }\ntrap 'echo trapped' EXIT\nexport A=1\nexit 0\n")
    image.file(hooks / "2.sh", 'false\n: $UNSET\ncommand -v f\nexport B="$A $(pwd)"\n')
    assert image.dump()["B"] == f"1 {image.code.parent}"


def test_a_nested_entrypoint_does_not_run_the_hook_again(image: Image) -> None:
    image.hook("echo the hook runs\nexport N=$((${N:-0} + 1))\n")
    inner = [*image.shell, str(image.entrypoint), "sh", "-c", 'printf %s "$N"']
    result = image.run(str(image.entrypoint), "bash", "-c", '"$@"', "_", *inner)
    assert result.out == b"1"
    assert result.err.count("the hook runs") == 1


def test_help_version_and_plan_run_no_hook(image: Image) -> None:
    image.hook("echo the hook runs\n")
    for words in (("--help",), ("-h",), ("ma2l", "--help"), ("ma2l", "help"), ("--version",), ("ma2l", "version")):
        result = image.run(*words)
        assert (result.code, result.err) == (0, ""), words
        assert b"ma2l" in result.out
    planned = image.run("ma2l", "plan", "--mock", "2", "python", "-c", "0", env={"MA_JOB_DIR": None})
    assert planned.code == 0
    assert "the hook runs" not in planned.err


def test_no_command_is_a_usage_error(image: Image) -> None:
    image.hook("echo the hook runs\n")
    result = image.run()
    assert result.code == 2
    assert "the hook runs" not in result.err


def test_no_python_with_ma2l_is_one_line_and_127(image: Image) -> None:
    path = only(("dirname", "readlink"), image.root / "bin")
    image.shell = tuple(
        {"dash": ("/usr/bin/dash",), "bash": ("/bin/bash",), "busybox": ("/usr/bin/busybox", "sh")}[image.shell[0]]
    )
    result = image.run("python", "train.py", env={"MA2L_PYTHON": None, "PATH": path})
    assert result.code == 127
    assert result.err.count("\n") == 1
    assert "MA2L_PYTHON" in result.err
    wrong = image.run("python", "train.py", env={"MA2L_PYTHON": "/no/python"})
    assert (wrong.code, wrong.err.count("\n")) == (127, 1)


def test_python_is_found_beside_the_entrypoint_and_on_path(image: Image) -> None:
    assert (
        image.run("true", env={"MA2L_PYTHON": None, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}).code
        == 0
    )
    marked = "#!/bin/sh\nexport FOUND=beside\nexec " + sys.executable + ' "$@"\n'
    image.file(image.root / "opt" / "bin" / "python", marked, 0o755)
    assert image.run(*DUMP, env={"MA2L_PYTHON": None, "MA2L_ENTRYPOINT": "once"}).code == 0


def test_the_installed_name_may_be_a_symlink(image: Image) -> None:
    image.hook("export A=1\n")
    link = image.root / "ma2l-entrypoint"
    link.symlink_to(image.entrypoint)
    shown = subprocess.run(
        [*image.shell, str(link), "sh", "-c", 'printf %s "$A"'],
        env=image.environ({}),
        cwd=image.code,
        capture_output=True,
        check=True,
    )
    assert shown.stdout == b"1"


def test_once_commands_end_like_in_a_shell(image: Image) -> None:
    assert image.run("echo", "hello", "wide   world").out == b"hello wide   world\n"
    assert image.run("echo", "hello").err == ""
    assert image.run("sh", "-c", "exit 7").code == 7
    missing = image.run("no-such-program")
    assert (missing.code, missing.err.count("\n")) == (127, 1)
    forbidden = image.run(str(image.file(image.root / "plain", "text")))
    assert (forbidden.code, forbidden.err.count("\n")) == (126, 1)
    assert image.run("sh", "-c", "kill -TERM $$").code == -15


def test_arguments_pass_byte_by_byte(image: Image) -> None:
    assert image.run("printf", "%s|", "a b", "", "*", "$HOME", "\udcff", "x\ny").out == b"a b||*|$HOME|\xff|x\ny|"


def test_launch_runs_the_command_per_npu_with_the_hooks_exports(image: Image) -> None:
    image.hook('export A="from the hook"\nexport PYTHONPATH=/nowhere\n')
    train = image.file(image.code / "train.py", "import os; print(os.environ['RANK_ID'], os.environ['A'])\n")
    environ: dict[str, str | None] = {"MA_JOB_DIR": None, "MA_LOG_DIR": None}
    python3 = ("python3", str(train))
    for words in (python3, (str(train),), ("ma2l", *python3), ("--per-node=false", *python3)):
        python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        result = image.run(*words, env={**environ, "MA2L_MOCK": "2", "MA2L_CONSOLE_RANKS": "all", "PATH": python})
        assert result.code == 0, result.err
        lines = result.out.decode().splitlines()
        assert sorted(line.split("] ", 1)[1] for line in lines) == ["0 from the hook", "1 from the hook"]


_SPY = """
import os, runpy, sys, types
def main():
    print(os.environ.get("MA2L_WORKER_LD_PRELOAD"), "LD_PRELOAD" in os.environ, sys.argv)
sys.modules["ma2l.__main__"] = launcher = types.ModuleType("ma2l.__main__")
launcher.main = main
sys.argv = sys.argv[3:]
runpy.run_module("ma2l.entry", run_name="__main__")
"""
"""Stands for ``python -I -m ma2l.entry`` with a launcher that shows how it was called."""


def test_the_launcher_runs_without_the_workers_preload(image: Image) -> None:
    spy = image.file(image.root / "spy.py", _SPY)
    loaded = '[ -z "${LD_PRELOAD+set}" ] || echo loaded'
    fake = image.file(image.root / "python", f'#!/bin/sh\n{loaded}\nexec {sys.executable} -I {spy} "$@"\n', 0o755)
    result = image.run("python", "train.py", env={"MA2L_PYTHON": str(fake), "LD_PRELOAD": "libdl.so.2"})
    assert result.out.decode() == "libdl.so.2 False ['ma2l', '--', 'python', 'train.py']\n", result.err


CLASSES = {
    "launch": (
        "python train.py", "python3.9 -m pkg", "/opt/conda/bin/python -u x.py", "train.py", "./train.py --lr 1",
        "bash run.sh",
        "bash -x run.sh", "bash -eux run.sh a b", "bash -eo pipefail run.sh", "sh -- run.sh", "/bin/bash --norc run.sh",
        "ma2l x",
        "ma2l --mock 2 npu-smi", "/opt/ma2l/bin/ma2l x", "dash run", "bash -o pipefail +x run.sh",
    ),
    "once": (
        "bash", "sh", "bash -c true", "bash -lc true", "bash -ec true", "bash -i", "bash -l", "bash -l run.sh",
        "bash --login x",
        "sh -s run.sh", "sh -", "npu-smi info", "pip install x", "sleep 1", "torchrun train.py",
        "stdbuf -oL python train.py",
        "echo hello", "bash -x", "bash --version",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_what_runs_per_npu_and_what_once(shell: str, kind: str) -> None:
    text = 'for c in "$@"; do set -f; ma2l_classify $c; echo "$c=$ma2l_kind"; done'
    shown = function(shell, text, *CLASSES[kind])
    assert shown.stdout.splitlines() == [f"{command}={kind}" for command in CLASSES[kind]], shown.stderr


@pytest.mark.parametrize("kind", CLASSES)
def test_a_variable_forces_either(shell: str, kind: str) -> None:
    forced = "once" if kind == "launch" else "launch"
    text = 'for c in "$@"; do ma2l_classify $c; echo $ma2l_kind; done'
    shown = function(shell, text, *CLASSES[kind], env={"MA2L_ENTRYPOINT": forced})
    assert set(shown.stdout.split()) == {forced}


def test_wrong_values_are_refused_before_anything_runs(image: Image) -> None:
    image.hook("echo the hook runs\n")
    for name, value in (
        ("MA2L_ENTRYPOINT", "twice"), ("MA2L_PRE_START_TIMEOUT", "soon"), ("MA2L_PRE_START_STRICT", "maybe"),
        ("MA2L_SECRETS", "a;b"),
    ):  # fmt: skip
        result = image.run("true", env={name: value})
        assert (result.code, result.err.count("\n")) == (78, 1), name
        assert name in result.err


def test_secrets_come_from_files(image: Image) -> None:
    secret = image.file(image.root / "secret", "s3cr3t 'quoted' $HOME\n")
    image.hook('[ "$OBS_SECRET_ACCESS_KEY" = "s3cr3t \'quoted\' \\$HOME" ] && export HOOK_SAW=1\n')
    environ = {"OBS_SECRET_ACCESS_KEY_FILE": str(secret), "MY_TOKEN_FILE": str(secret), "MA2L_SECRETS": "A_B,MY_TOKEN"}
    env = image.dump({**environ, "RANK_TABLE_FILE": "/user/config"})
    assert env["OBS_SECRET_ACCESS_KEY"] == env["MY_TOKEN"] == "s3cr3t 'quoted' $HOME"
    assert env["HOOK_SAW"] == "1"
    assert env["RANK_TABLE_FILE"] == "/user/config"
    assert "OBS_SECRET_ACCESS_KEY_FILE" not in env
    assert "MY_TOKEN_FILE" not in env


def test_a_secret_given_twice_or_unreadable_is_an_error_that_does_not_show_it(image: Image) -> None:
    secret = image.file(image.root / "secret", "s3cr3t")
    both = image.run("true", env={"OBS_ACCESS_KEY_ID": "visible", "OBS_ACCESS_KEY_ID_FILE": str(secret)})
    assert (both.code, both.err.count("\n")) == (78, 1)
    assert "visible" not in both.err
    missing = image.run("true", env={"OBS_ACCESS_KEY_ID_FILE": "/no/file"})
    assert (missing.code, missing.err.count("\n")) == (78, 1)
    assert image.left_over() == []


def test_requirements_beside_the_boot_file_are_installed_before_the_hook(image: Image, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    with zipfile.ZipFile(image.code / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "VALUE = 'from the wheel'\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(
            "tiny-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    (image.code / "pip-requirements.txt").write_text("./tiny-1.0-py3-none-any.whl\n")
    (image.code / "train.py").touch()
    image.hook("export SEEN=\"$(python -c 'import tiny; print(tiny.VALUE)')\"\n")
    environ = {"PATH": f"{venv}/bin:{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    boot = str(image.code / "train.py")
    shown = image.run("sh", "-c", 'printf %s "$SEEN"', boot, env=environ, cwd=image.root)
    assert shown.out == b"from the wheel", shown.err


def test_what_a_login_shell_would_have_is_there_before_the_hook(image: Image) -> None:
    ascend = image.root / "Ascend"
    for product in ("nnae", "ascend-toolkit", "nnal/atb", "tfplugin"):
        library_path = f"{ascend}/{product}/lib64:${{LD_LIBRARY_PATH:-}}"
        lines = f'export ORDER="${{ORDER:-}} {product}"\nexport LD_LIBRARY_PATH={library_path}\nexit 5\n'
        image.file(ascend / product / "set_env.sh", lines)
    image.file(image.root / "home" / "Ascend" / "cann" / "set_env.sh", 'export ORDER="$ORDER home/cann"\nfalse\n')
    for library in ("common", "driver"):
        (ascend / "driver" / "lib64" / library).mkdir(parents=True)
    image.hook('export SEEN="$ORDER"\n')
    result = image.result({"MA2L_ASCEND_DIR": str(ascend), "MA2L_PRE_START_STRICT": "1"})
    env = result.env
    assert env["SEEN"] == " nnae ascend-toolkit tfplugin nnal/atb home/cann"
    common, driver = (f"{ascend}/driver/lib64/{name}" for name in ("common", "driver"))
    assert env["LD_LIBRARY_PATH"].startswith(f"{common}:{driver}:{ascend}/nnal/atb/lib64:")
    again = image.dump({"MA2L_ASCEND_DIR": str(ascend), "LD_LIBRARY_PATH": env["LD_LIBRARY_PATH"], "HOME": "/nowhere"})
    assert "ORDER" not in again
    assert again["LD_LIBRARY_PATH"] == env["LD_LIBRARY_PATH"]


def test_the_announced_conda_environment_is_activated_once(image: Image) -> None:
    conda = image.root / "conda"
    (conda / "envs" / "ms" / "bin").mkdir(parents=True)
    announced = {"ANACONDA_DIR": str(conda), "DEFAULT_CONDA_ENV_NAME": "ms"}
    env = image.dump(announced)
    assert env["PATH"].startswith(f"{conda}/envs/ms/bin:")
    assert env["CONDA_PREFIX"] == f"{conda}/envs/ms"
    active = {**announced, "CONDA_PREFIX": env["CONDA_PREFIX"], "PATH": env["PATH"]}
    assert image.dump(active)["PATH"] == env["PATH"]
    functions = 'conda() { export CONDA_PREFIX="$ANACONDA_DIR/envs/$2" ACTIVATED="$1 $2"; }\n'
    image.file(conda / "etc" / "profile.d" / "conda.sh", functions)
    assert image.dump(announced)["ACTIVATED"] == "activate ms"


def test_an_unwritable_log_directory_is_replaced_and_said_so(image: Image) -> None:
    image.hook("echo hello\n")
    result = image.result({"MA_LOG_DIR": "/proc/none"})
    assert result.code == 0
    assert any("/proc/none cannot be written" in line for line in result.messages)
    assert (image.tmp / "ma2l-log" / "node0.pre-start.txt").read_text() == "hello\n"


def test_off_a_platform_the_log_lies_in_the_working_directory(image: Image) -> None:
    image.hook("echo hello\n")
    image.result({"MA_LOG_DIR": None, "MA_JOB_DIR": None})
    assert (image.code / "ma2l-log" / "node0.pre-start.log").read_text() == "hello\n"


def test_home_may_be_foreign_unset_or_unwritable(image: Image) -> None:
    image.hook("export A=1\n")
    for home in ("/proc", "/no/such/home", None):
        assert image.dump({"HOME": home})["A"] == "1"


def test_a_read_only_container_needs_only_one_temporary_directory(image: Image) -> None:
    image.hook("export A=1\n")
    image.code.chmod(0o555)
    environ = {"TMPDIR": "/proc/none", "MA_LOG_DIR": "/proc/none", "HOME": "/proc/none"}
    result = image.result(environ)
    image.code.chmod(0o755)
    assert result.env["A"] == "1"
