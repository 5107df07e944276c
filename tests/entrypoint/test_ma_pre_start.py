"""``ma-pre-start.sh`` with real wheels in a throw-away environment, and ``.run`` files that write down their calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.entrypoint.harness import PATIENCE, ROOT, SHELLS, Image

LEVELS = {"GLOG_v", "ASCEND_GLOBAL_LOG_LEVEL", "ASCEND_GLOBAL_EVENT_ENABLE", "ASCEND_SLOG_PRINT_TO_STDOUT"}
_RUN = """#!/bin/sh
# A stand-in for CANN's self-extracting installer: it writes down how it was called and leaves what the real one leaves.
echo "{product} $*" >>"$CALLS"
[ "$1" != --check ] || exit "${{CHECK_CODE:-0}}"
[ "${{INSTALL_CODE:-0}}" = 0 ] || exit "$INSTALL_CODE"
root=$MA2L_ASCEND_DIR/{home}
mkdir -p "$root/latest/{arch}-linux" || exit 1
echo "package_name=Ascend-cann-{product}" >"$root/latest/{arch}-linux/ascend_{product}_install.info"
echo "version={version}" >>"$root/latest/{arch}-linux/ascend_{product}_install.info"
echo 'export NEW_CANN="{product} {version}"' >"$root/set_env.sh"
exit 0
__ARCHIVE_BELOW__
"""


class Job:
    """Code with packages beside the hook, and an environment to install into."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root = root
        self.code = root / "my code"
        self.run_dir = self.code / "run"
        self.run_dir.mkdir(parents=True)
        self.calls = root / "calls"
        self.ascend = root / "Ascend"
        self.hook = Path(shutil.copy(ROOT / "ma-pre-start.sh", self.code))
        self.shell = SHELLS[shell]
        (root / "bin").mkdir()

    def package(self, product: str, version: str = "8.0.0") -> Path:
        """A CANN package, as it comes out of object storage: without mode bits."""
        home = "ascend-toolkit" if product == "toolkit" else product
        path = self.run_dir / f"Ascend-cann-{product}_{version}_linux-x86_64.run"
        path.write_text(_RUN.format(product=product, home=home, version=version, arch="x86_64"))
        return path

    def wheel(self, name: str, version: str, text: str = "") -> Path:
        """A real wheel with one module."""
        path = self.run_dir / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{name}.py", f"VERSION = '{version}{text}'\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
        return path

    def python(self, venv: Path) -> None:
        """Let that environment's Python be the user's, and write down pip's calls."""
        text = f'#!/bin/sh\n[ "$1" != -m ] || echo "pip ${{*##*/}}" >>"$CALLS"\nexec {venv}/bin/python "$@"\n'
        (self.root / "bin" / "python").write_text(text)
        (self.root / "bin" / "python").chmod(0o755)

    def environ(self, extra: Mapping[str, str]) -> dict[str, str]:
        """What the hook runs with."""
        return {
            "PATH": f"{self.root}/bin:{os.environ['PATH']}", "HOME": str(self.root), "CALLS": str(self.calls),
            "MA2L_ASCEND_DIR": str(self.ascend), "TMPDIR": str(self.root), "PIP_NO_INDEX": "1", **extra,
        }  # fmt: skip

    def execute(self, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the hook in its own shell."""
        return self.execute_as(None, **extra)

    def execute_as(self, user: int | None, **extra: str) -> subprocess.CompletedProcess[str]:
        """The same as another user."""
        return subprocess.run(
            [*self.shell, str(self.hook)], env=self.environ(extra), cwd="/", user=user, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    def source(self, before: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        """Source the hook and show the variables that the shell then exports."""
        text = f'{before} . "$0"; echo "code=$?"; env'
        return subprocess.run(
            ["bash", "-c", text, str(self.hook)], env=self.environ(extra), cwd="/", capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    def called(self) -> list[str]:
        """Calls of installers so far; forgets them."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def job(tmp_path: Path, shell: str) -> Job:
    return Job(tmp_path, shell)


@pytest.fixture
def bash_job(tmp_path: Path) -> Job:
    return Job(tmp_path, "bash")


@pytest.fixture(scope="module")
def base_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; tests that install get a fresh site-packages by removing what they brought."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    return venv


@pytest.fixture
def venv(base_venv: Path) -> Iterator[Path]:
    site = next(base_venv.glob("lib/python*/site-packages"))
    known = set(site.iterdir())
    yield base_venv
    for path in set(site.iterdir()) - known:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_without_packages_it_only_sets_log_levels_and_is_silent(job: Job) -> None:
    result = job.execute()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    shown = job.source().stdout.splitlines()
    assert {
        "GLOG_v=3",
        "ASCEND_GLOBAL_LOG_LEVEL=3",
        "ASCEND_GLOBAL_EVENT_ENABLE=0",
        "ASCEND_SLOG_PRINT_TO_STDOUT=0",
    } <= set(shown)


def test_cann_is_checked_installed_then_skipped_then_upgraded(job: Job) -> None:
    old = job.package("toolkit", "8.0.0")
    at = f"--quiet --install-path={job.ascend}"
    assert job.execute().returncode == 0
    assert job.called() == ["toolkit --check", f"toolkit --install {at}"]
    assert "toolkit 8.0.0 is in place" in job.execute().stdout
    assert job.called() == []
    old.unlink()
    job.package("toolkit", "8.1.RC1")
    result = job.execute()
    assert job.called() == ["toolkit --check", f"toolkit --upgrade {at}"]
    assert "installed Ascend-cann-toolkit_8.1.RC1_linux-x86_64.run: code 0, " in result.stdout
    assert job.execute(MA2L_UPGRADE_FORCE="1").returncode == 0
    assert job.called() == ["toolkit --check", f"toolkit --upgrade {at}"]


def test_packages_come_in_the_order_they_need(job: Job) -> None:
    for product in ("kernels-910b", "nnal", "tfplugin", "toolkit"):
        job.package(product)
    assert job.execute().returncode == 0
    assert [line.split()[0] for line in job.called() if "--check" in line] == [
        "toolkit",
        "kernels-910b",
        "nnal",
        "tfplugin",
    ]
    assert job.execute().returncode == 0
    assert job.called() == []


def test_a_toolkit_upgrade_brings_the_kernels_again(job: Job) -> None:
    job.package("toolkit", "8.0.0").rename(job.root / "old.run")
    job.package("kernels-910b", "8.0.0")
    assert job.execute().returncode == 0
    job.called()
    job.package("toolkit", "8.1.0")
    assert job.execute().returncode == 0
    assert [line.split()[0] for line in job.called() if "--check" not in line] == ["toolkit", "kernels-910b"]


def test_a_damaged_package_is_not_installed(job: Job) -> None:
    job.package("toolkit")
    job.package("nnal")
    result = job.execute(CHECK_CODE="7")
    assert result.returncode == 7
    assert job.called() == ["toolkit --check"]
    assert "checked Ascend-cann-toolkit_8.0.0_linux-x86_64.run: code 7, " in result.stdout


def test_a_failed_or_interrupted_upgrade_is_done_again(job: Job) -> None:
    job.package("toolkit")
    assert job.execute(INSTALL_CODE="5").returncode == 5
    job.called()
    assert job.execute().returncode == 0
    assert len(job.called()) == 2
    marker = job.ascend / ".ma-pre-start.toolkit"
    marker.rename(f"{marker}.part")  # as after a SIGKILL between the version file and the end
    assert job.execute().returncode == 0
    assert len(job.called()) == 2
    assert marker.exists()


def test_another_build_of_the_same_version_is_installed(job: Job) -> None:
    package = job.package("toolkit")
    job.execute()
    job.called()
    package.write_text(package.read_text() + "rebuilt\n")
    assert job.execute().returncode == 0
    assert len(job.called()) == 2


def test_two_ranks_at_once_install_once(job: Job) -> None:
    job.package("toolkit")
    start = [*job.shell, str(job.hook)]
    both = [subprocess.Popen(start, env=job.environ({}), cwd="/", stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(timeout=PATIENCE) for process in both] == [0, 0, 0, 0]
    assert len(job.called()) == 2


def test_sourced_it_brings_the_new_environment_and_leaves_nothing_else(bash_job: Job) -> None:
    bash_job.package("toolkit")
    result = bash_job.source("set -eu;", GLOG_v="warning")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert {"code=0", "NEW_CANN=toolkit 8.0.0", "GLOG_v=2"} <= set(lines)
    left = subprocess.run(
        ["bash", "-c", '. "$0" >/dev/null; set | grep -a ^ma_pre; declare -F', str(bash_job.hook)],
        env=bash_job.environ({}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert left.stdout == ""


def test_sourced_its_failure_is_a_code_and_not_the_end_of_the_shell(bash_job: Job) -> None:
    bash_job.package("toolkit")
    assert "code=9" in bash_job.source(CHECK_CODE="9").stdout.splitlines()


def test_where_packages_are_looked_for(job: Job) -> None:
    job.package("toolkit")
    other = job.root / "other place"
    job.run_dir.rename(other)
    assert (job.execute().returncode, job.called()) == (0, [])
    assert job.execute(MA2L_UPGRADE_DIR=str(other)).returncode == 0
    assert len(job.called()) == 2
    boot = job.root / "boot"
    boot.mkdir()
    other.rename(boot / "run")
    job.execute(MA2L_BOOT_DIR=str(boot), MA2L_UPGRADE_FORCE="1")
    assert len(job.called()) == 2
    wrong = job.execute(MA2L_UPGRADE_DIR="/no/such")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (78, 1)


@pytest.mark.parametrize(
    ("given", "number"),
    [("INFO", "1"), ("info", "1"), ("ERROR", "3"), ("0", "0"), ("WARNING", "2")],
)
def test_levels_by_name_or_number(job: Job, given: str, number: str) -> None:
    shown = job.source(
        GLOG_v=given, ASCEND_GLOBAL_LOG_LEVEL=given, ASCEND_GLOBAL_EVENT_ENABLE="on", ASCEND_SLOG_PRINT_TO_STDOUT="1"
    )
    wanted = {
        f"GLOG_v={number}",
        f"ASCEND_GLOBAL_LOG_LEVEL={number}",
        "ASCEND_GLOBAL_EVENT_ENABLE=1",
        "ASCEND_SLOG_PRINT_TO_STDOUT=1",
    }
    assert wanted <= set(shown.stdout.splitlines())


@pytest.mark.parametrize("name", sorted(LEVELS))
def test_a_wrong_level_is_refused_with_the_list_before_anything_is_installed(job: Job, name: str) -> None:
    job.package("toolkit")
    result = job.execute_as(None, **{name: "LOUD"})
    assert (result.returncode, result.stderr.count("\n")) == (78, 1)
    assert f"{name}=LOUD" in result.stderr
    assert "=0" in result.stderr
    assert job.called() == []


def test_wheels_are_installed_in_order_then_skipped(job: Job, venv: Path) -> None:
    job.python(venv)
    for name in ("mindspore", "protobuf", "torch_npu"):
        job.wheel(name, "1.0")
    result = job.execute()
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split()[-1] for line in job.called()] == [
        f"{name}-1.0-py3-none-any.whl" for name in ("protobuf", "mindspore", "torch_npu")
    ]  # fmt: skip
    assert job.execute().stdout.count("is in place") == 3
    assert job.called() == []
    job.wheel("mindspore", "1.0", " rebuilt")
    assert job.execute().returncode == 0
    shown = subprocess.run(
        [venv / "bin/python", "-c", "import mindspore; print(mindspore.VERSION)"], capture_output=True, check=True
    )
    assert shown.stdout == b"1.0 rebuilt\n"


def test_a_wheel_that_cannot_be_installed_stops_the_rest(job: Job, venv: Path) -> None:
    job.python(venv)
    job.wheel("protobuf", "1.0").write_bytes(b"not a wheel")
    job.package("toolkit")
    result = job.execute()
    assert result.returncode == 1
    assert "installed protobuf-1.0-py3-none-any.whl: code 1, " in result.stdout
    assert not [line for line in job.called() if line.startswith("toolkit")]


@pytest.fixture
def open_job(shell: str) -> Iterator[Job]:
    """A job that a user without rights can reach; CANN's place is not writable for that user."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        job = Job(Path(directory), shell)
        job.ascend.mkdir(mode=0o555)
        job.calls.touch()
        job.calls.chmod(0o666)
        (job.root / "tmp").mkdir()
        (job.root / "tmp").chmod(0o777)
        yield job


SUDO = '#!/bin/sh\n[ "$1" = -n ] && shift\necho "sudo ${1##*/}" >>"$CALLS"\n%s\n'


def _user() -> int | None:
    """Somebody else where the tests run as root, who may write everywhere."""
    return 65534 if os.getuid() == 0 else None


def test_sudo_is_used_where_it_is_needed_and_present(open_job: Job) -> None:
    open_job.package("toolkit").chmod(0o755)
    (open_job.root / "bin" / "sudo").write_text(SUDO % "exit 0")
    (open_job.root / "bin" / "sudo").chmod(0o755)
    open_job.execute_as(_user(), TMPDIR=str(open_job.root / "tmp"))
    called = open_job.calls.read_text().splitlines()
    assert "sudo Ascend-cann-toolkit_8.0.0_linux-x86_64.run" in called


def test_without_sudo_the_installer_runs_as_the_user(open_job: Job) -> None:
    open_job.package("toolkit").chmod(0o755)
    (open_job.root / "bin" / "sudo").write_text(SUDO % "exit 1")  # would ask for a password
    (open_job.root / "bin" / "sudo").chmod(0o755)
    result = open_job.execute_as(_user(), TMPDIR=str(open_job.root / "tmp"))
    called = open_job.calls.read_text().splitlines()
    assert [line for line in called if line.startswith("toolkit --install")]
    assert "sudo Ascend-cann-toolkit_8.0.0_linux-x86_64.run" not in called
    assert result.returncode == 1


def test_sudo_is_not_used_where_it_is_not_needed(job: Job) -> None:
    job.package("toolkit")
    (job.root / "bin" / "sudo").write_text(SUDO % "exit 0")
    (job.root / "bin" / "sudo").chmod(0o755)
    assert job.execute().returncode == 0
    assert not [line for line in job.called() if line.startswith("sudo")]


def test_through_the_entrypoint_its_exports_reach_the_command(dash_image: Image) -> None:
    shutil.copy(ROOT / "ma-pre-start.sh", dash_image.code)
    env = dash_image.dump({"GLOG_v": "DEBUG", "ASCEND_GLOBAL_LOG_LEVEL": "NULL"})
    assert (env["GLOG_v"], env["ASCEND_GLOBAL_LOG_LEVEL"]) == ("0", "4")
    assert not [name for name in env if name.startswith("ma_pre")]
