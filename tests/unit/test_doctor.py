"""Each check of the doctor on a host made of files and captured samples, well and sick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ma2l.doctor import checks, command, npus, ports, software, supported, system, table
from ma2l.doctor.finding import FAIL, OK, UNKNOWN, WARN, Finding, fail, ok
from ma2l.doctor.scene import Scene
from ma2l.doctor.show import as_json, as_table
from ma2l.linux import net
from ma2l.settings import Settings
from tests.unit.scenario import NoWaiting, mock_nodes

ASCEND = Path(__file__).parent.parent / "data" / "ascend"
MAPPINGS = {"npu-smi-info-a3.txt": "npu-smi-info-m-a3.txt"}


class Host:
    """A root directory, and tools on a PATH of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"PATH": str(root / "bin")}
        (root / "bin").mkdir()
        (root / "dev").mkdir()

    def file(self, path: str, text: str = "") -> Path:
        """Write a file below the root."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def devices(self, count: int) -> None:
        """Make device files."""
        for name in (*(f"davinci{i}" for i in range(count)), "davinci_manager", "devmm_svm", "hisi_hdc"):
            self.file(f"/dev/{name}")

    def npu_smi(
        self, info: str, replace: tuple[str, str] = ("", ""), board: str = "npu-smi-info-board-910b.txt"
    ) -> None:
        """A tool that prints captured samples."""
        mapping = MAPPINGS.get(info, "/dev/null")
        text = (ASCEND / info).read_text().replace(*replace) if replace[0] else (ASCEND / info).read_text()
        shown = self.file("/samples/info", text)
        script = (
            f'#!/bin/sh\ncase "$*" in info) /bin/cat {shown};; "info -m") /bin/cat {ASCEND / mapping};;\n'
            f'"info -t board -i "*) /bin/cat {ASCEND / board};; *) exit 1;; esac\n'
        )
        self.file("/bin/npu-smi", script).chmod(0o755)

    def scene(self, *words: str, **options: Any) -> Scene:
        """What checks look at here."""
        return Scene(Settings(**options), self.environ, words, NoWaiting(), str(self.root))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_without_any_of_it(host: Host) -> None:
    findings = checks.examine(host.scene())
    by_name = {check.name: finding for check, finding in findings}
    assert by_name["npus"].status == FAIL
    assert by_name["npus"].elsewhere
    for name in ("npu health", "device files", "driver", "cann", "set_env.sh", "libascend_hal", "framework", "memory"):
        assert by_name[name].status == UNKNOWN, name
    assert checks.exit_code(findings) == 197


@pytest.mark.parametrize(
    ("sample", "chips", "name"),
    [
        ("npu-smi-info-910b2.txt", 8, "910B2"),
        ("npu-smi-info-a3.txt", 16, "Ascend910"),
        ("npu-smi-info-910a-one-card.txt", 1, "910A"),
    ],
)
def test_npus_of_three_generations(host: Host, sample: str, chips: int, name: str) -> None:
    host.npu_smi(sample)
    scene = host.scene()
    assert not isinstance(scene.chips, str)
    assert len(scene.chips) == chips
    host.devices(chips if chips > 1 else 8)
    there = npus.present(host.scene())
    if chips > 1:
        assert there == ok(f"NPU 0-{chips - 1} ({scene.chips[0].name})")
    assert npus.healthy(host.scene()) == ok(f"{chips} chips are OK")


@pytest.mark.parametrize(
    ("health", "status"), [("Warning", WARN), ("Alarm", FAIL), ("Critical", FAIL), ("UNKNOWN", FAIL)]
)
def test_sick_npus(host: Host, health: str, status: str) -> None:
    host.npu_smi("npu-smi-info-910b2.txt", ("| OK  ", f"| {health}  "))
    found = npus.healthy(host.scene())
    assert found.status == status
    assert f"NPU 0 chip 0: {health}" in found.text


def test_a_tool_that_fails_is_not_taken_for_health(host: Host) -> None:
    text = (ASCEND / "npu-smi-failed-8005.txt").read_text().strip().replace("'", "")
    host.file("/bin/npu-smi", f"#!/bin/sh\necho '{text}'\nexit 255\n").chmod(0o755)
    host.devices(8)
    assert "ret is -8005" in npus.healthy(host.scene()).text
    assert npus.healthy(host.scene()).status == UNKNOWN
    assert npus.present(host.scene()).status == WARN


def test_device_files_that_npu_smi_does_not_list(host: Host) -> None:
    host.devices(10)
    host.npu_smi("npu-smi-info-910b2.txt")
    assert npus.present(host.scene()).text == "npu-smi does not list NPU 8-9"


def test_device_files_of_somebody_else(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.devices(2)
    assert npus.readable(host.scene()) == ok("5 device files can be opened")
    (host.root / "dev/hisi_hdc").unlink()
    assert npus.readable(host.scene()).text == "there is no /dev/hisi_hdc"
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("davinci1"))
    found = npus.readable(host.scene())
    assert found.status == FAIL
    assert "may not open /dev/davinci1" in found.text


def test_npus_that_somebody_holds(host: Host) -> None:
    host.devices(2)
    fd = host.root / "proc/4242/fd"
    fd.mkdir(parents=True)
    (fd / "7").symlink_to(host.root / "dev/davinci1")
    host.file("/proc/4242/cmdline", "python\0train.py\0")
    host.file("/proc/4242/comm", "python\n")
    found = npus.free(host.scene())
    assert (found.status, found.elsewhere) == (FAIL, True)
    assert found.text == "in use by pid 4242 (python train.py, NPU 1)"
    assert ports.npu(host.scene()).status == WARN


VERSION_INFO = (
    "Version=24.1.rc3\nascendhal_version=7.35.23\ncompatible_version_fw=[7.0.0,7.7.99]\npackage_version=24.1.rc3\n"
)


def test_driver_and_firmware(host: Host) -> None:
    host.file(software.DRIVER_INFO, VERSION_INFO)
    host.file(software.FIRMWARE_INFO, "Version=7.5.0.1.129\n")
    assert software.driver(host.scene()) == ok("driver 24.1.rc3, firmware 7.5.0.1.129")
    host.file(software.FIRMWARE_INFO, "Version=6.4.0\n")
    assert software.driver(host.scene()).text.endswith("the driver wants firmware [7.0.0,7.7.99]")
    assert software.driver(host.scene()).status == FAIL


def test_the_board_tells_versions_where_files_do_not(host: Host) -> None:
    host.npu_smi("npu-smi-info-910b2.txt")
    assert software.driver(host.scene()) == ok("driver 25.5.1, firmware 7.8.0.6.201")


def cann(host: Host, version: str) -> None:
    home = "/usr/local/Ascend/ascend-toolkit/latest"
    host.file(
        f"{home}/aarch64-linux/ascend_toolkit_install.info", f"package_name=Ascend-cann-toolkit\nversion={version}\n"
    )
    host.file("/usr/local/Ascend/ascend-toolkit/set_env.sh")


@pytest.mark.parametrize(
    ("version", "driver", "status"),
    [
        ("8.5.0", "25.5.1", OK), ("8.5.0", "25.2.0", OK), ("8.5.0", "24.1.0", WARN), ("8.2.RC1", "24.1.rc3", OK),
        ("8.2.RC1", "24.1.rc1", WARN), ("8.1.RC1.beta1", "25.0.rc1.1", OK), ("7.0.T10", "23.0.7", UNKNOWN),
    ],
)  # fmt: skip
def test_cann_and_driver(host: Host, version: str, driver: str, status: str) -> None:
    cann(host, version)
    assert software.cann(host.scene()).status == UNKNOWN
    host.file(software.DRIVER_INFO, f"Version={driver}\n")
    assert software.cann(host.scene()).status == status


def test_canns_environment(host: Host) -> None:
    cann(host, "8.5.0")
    assert software.set_env(host.scene()).status == FAIL
    host.environ["ASCEND_TOOLKIT_HOME"] = "/usr/local/Ascend/ascend-toolkit/latest"
    assert software.set_env(host.scene()).status == OK
    host.environ["ASCEND_TOOLKIT_HOME"] = "/gone"
    assert "which does not exist" in software.set_env(host.scene()).text


def test_the_drivers_library(host: Host) -> None:
    host.file("/usr/local/Ascend/driver/lib64/driver/libascend_hal.so", "no library")
    found = software.hal_library(host.scene())
    assert found.status == FAIL
    assert found.fix.startswith("export LD_LIBRARY_PATH=")


@pytest.mark.parametrize(
    ("framework", "version", "cann_version"),
    [("torch_npu", "2.7.1.post2", "8.5.0"), ("mindspore", "2.7.1", "8.3.RC1"), ("torch_npu", "2.6.0", "8.0.0")],
)
def test_published_pairs(framework: str, version: str, cann_version: str) -> None:
    assert cann_version in (supported.cann_of(framework, version) or ())


def test_versions_are_compared_as_their_publishers_write_them() -> None:
    assert [supported.release(text) for text in ("8.1.RC1.beta1", "8.0.0.1", "8.5.0", "7.0.T10", "odd")] == [
        "8.1.RC1", "8.0.0", "8.5.0", "7.0.T10", "odd",
    ]  # fmt: skip
    assert supported.between("7.5.0.1.129", "[7.0.0,7.7.99]") is True
    assert supported.between("7.8.0", "[7.0.0,7.7.99]") is False
    assert supported.between("x", "[7.0.0,7.7.99]") is None
    assert not supported.fits("25.10.0", ("25.1",))


def python_with(host: Host, packages: dict[str, str], broken: str = "") -> str:
    """A Python of the training's, with such packages."""
    place = host.root / "packages"
    for name, version in packages.items():
        host.file(f"/packages/{name}.py", "raise OSError('libx.so: cannot open')" if name == broken else "")
        info = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        host.file(f"/packages/{name}-{version}.dist-info/METADATA", info)
    host.environ["PYTHONPATH"] = str(place)
    return sys.executable


def test_a_framework_is_imported_by_the_workers_own_python(host: Host) -> None:
    python = python_with(host, {"torch": "2.7.1", "torch_npu": "2.7.1.post2"})
    assert software.framework(host.scene(python, "train.py")) == ok(
        "torch 2.7.1, torch_npu 2.7.1.post2 can be imported"
    )
    cann(host, "8.0.0")
    found = software.framework(host.scene(python, "train.py"))
    assert (found.status, found.text) == (WARN, "torch_npu 2.7.1.post2 was released for CANN 8.5.0, here is 8.0.0")
    script = host.file("/bin/launch", f"#!{python}\n")
    script.chmod(0o755)
    assert software.interpreter(host.scene("launch")) == python
    assert software.framework(host.scene("ls")).status == UNKNOWN


def test_a_framework_that_cannot_be_imported(host: Host) -> None:
    python = python_with(host, {"mindspore": "2.7.1"}, broken="mindspore")
    found = software.framework(host.scene(python))
    assert found.status == FAIL
    assert found.text.endswith("OSError: libx.so: cannot open")


def test_torch_without_its_npu_part(host: Host) -> None:
    host.devices(1)
    assert "without torch_npu" in software.framework(host.scene(python_with(host, {"torch": "2.7.1"}))).text


@pytest.fixture
def job(host: Host) -> Callable[..., Scene]:
    """The scene of one node of a mock job."""

    def scene(node: int = 0, change: tuple[str, str] = ("", ""), **options: Any) -> Scene:
        environ = mock_nodes("modelarts", "2x8", str(host.root / "job"))[node]
        table_file = Path(environ["RANK_TABLE_FILE"], "jobstart_hccl.json")
        if change[0]:
            target = table_file.resolve()
            target.write_text(target.read_text().replace(*change))
        return Scene(Settings(**options), environ, ("true",), NoWaiting(), str(host.root))

    return scene


def test_a_good_table_and_the_own_place_in_it(job: Callable[..., Scene]) -> None:
    scene = job(node=1)
    assert table.complete(scene).status == OK
    assert table.place(scene).text.startswith("node 1 of 2 with 8 NPUs: rank table ")
    assert npus.addresses(scene) == ok("8 addresses are as in the table")
    assert table.names(scene) == ok("no name has to be looked up")
    assert ports.meeting(scene) == ok("they are node 0's")


def test_tables_that_are_not_complete_wrong_or_of_somebody_else(job: Callable[..., Scene]) -> None:
    waiting = job(change=("completed", "initializing"))
    assert table.complete(waiting).status == WARN
    assert table.place(waiting) == Finding(UNKNOWN, "the rank table is not complete")
    wrong = job(change=('"device_id":', '"device_id": "9", "x":'))
    assert table.complete(wrong).status == FAIL
    assert "ma2l ranktable check" in table.complete(wrong).fix
    strange = job(change=("-worker-", "-somebody-"))
    assert table.complete(strange).status in (OK, WARN)


def test_an_address_that_differs_from_the_table(job: Callable[..., Scene]) -> None:
    scene = job()
    found = scene.topology
    assert not isinstance(found, Exception)
    first = found.cluster.own.devices[0]
    scene.__dict__["device_ips"] = {first.device_id: "203.0.113.9"}
    assert npus.addresses(scene).text == f"NPU {first.device_id} has 203.0.113.9, the table says {first.ip}"


@pytest.mark.parametrize(("variable", "status"), [("70000", FAIL), ("x", FAIL)])
def test_hccls_ports_by_variable(host: Host, variable: str, status: str) -> None:
    host.environ["HCCL_IF_BASE_PORT"] = variable
    assert ports.hccl(host.scene()).status == status


def test_hccls_ports_taken_given_away_and_reserved(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "is_free", lambda port: port != 60003)
    assert ports.hccl(host.scene()).text == "port 60003 of HCCL's 60000-60031 is taken"
    monkeypatch.setattr(net, "is_free", lambda port: True)
    host.file("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    assert "the kernel gives them to anybody (32768-60999)" in ports.hccl(host.scene()).text
    host.file("/proc/sys/net/ipv4/ip_local_reserved_ports", "60000-60031\n")
    assert ports.hccl(host.scene()) == ok("60000-60031 are free")


def test_where_node_0_listens(job: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "is_free", lambda port: port != 29555)
    assert ports.meeting(job(master_port=29555)).status == FAIL
    assert ports.meeting(job(master_port=29556)) == ok("port 29556 is free")


def test_memory_of_both_control_groups(host: Host) -> None:
    host.file("/sys/fs/cgroup/memory.max", f"{64 * 2**30}\n")
    host.file("/sys/fs/cgroup/memory.current", f"{8 * 2**30}\n")
    assert system.memory(host.scene()) == ok("8.0 of 64.0 GiB in use")
    host.file("/sys/fs/cgroup/memory.current", f"{63 * 2**30}\n")
    assert system.memory(host.scene()).status == WARN
    host.file("/sys/fs/cgroup/memory.max", "max\n")
    assert system.memory(host.scene()) == ok("this container has no limit of memory")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("#!/bin/sh\nexport X=1\nexec torchrun --nproc_per_node 8 train.py\n", FAIL),
        ("#!/bin/bash\nnohup msrun --worker_num 8 net.py &\n", FAIL),
        ("#!/bin/bash\npython train.py  # no torchrun here\n", OK),
    ],
)
def test_a_launcher_inside_a_run_script(host: Host, text: str, status: str) -> None:
    script = host.file("/run.sh", text)
    assert command.launcher_inside(host.scene("bash", str(script))).status == status
    assert command.launcher_inside(host.scene("bash", str(script), per_node=True)).status == OK
    assert command.launcher_inside(host.scene(str(script))).status == status
    assert command.launcher_inside(host.scene("torchrun", "x")).status == OK


def test_a_program_that_is_there(host: Host) -> None:
    tool = host.file("/bin/train", "#!/bin/sh\n")
    tool.chmod(0o755)
    assert command.program(host.scene()).status == UNKNOWN
    assert command.program(host.scene("train", "x")) == ok(str(tool))
    absent = command.program(host.scene("trian", "x"))
    assert absent.status == FAIL
    assert "cannot run trian: there is no such program in PATH=" in absent.text


def test_a_box_of_gpus(host: Host) -> None:
    assert command.accelerator(host.scene()).status == OK
    host.file("/dev/nvidia0")
    assert command.accelerator(host.scene()).status == FAIL
    host.devices(1)
    assert command.accelerator(host.scene()).status == WARN


@pytest.mark.parametrize(
    ("cmdline", "status"),
    [
        ("bash\0-c\0cd x && ma2l python train.py\0", WARN),
        ("/bin/sh\0-c\0cd x && exec ma2l python train.py\0", OK),
        ("bash\0-c\0sleep 100\0", OK),
        ("/sbin/init\0", OK),
        ("", UNKNOWN),
    ],
)
def test_a_shell_as_pid_1(host: Host, cmdline: str, status: str) -> None:
    host.file("/proc/1/cmdline", cmdline)
    assert command.process_1(host.scene()).status == status


def test_the_exit_code_says_whether_another_node_would_do() -> None:
    (first, *_) = checks.ALL
    assert checks.exit_code([(first, ok("x")), (first, Finding(WARN, "y"))]) == 0
    assert checks.exit_code([(first, fail("x", "y", elsewhere=True)), (first, ok("x"))]) == 197
    assert checks.exit_code([(first, fail("x", "y", elsewhere=True)), (first, fail("x", "y"))]) == 78


def test_findings_are_shown(host: Host) -> None:
    (first, second, *_) = checks.ALL
    findings = [(first, ok("NPU 0-7")), (second, fail("NPU 3: Alarm", "choose another"))]
    assert as_table(findings, colours=False) == (
        "ok      npus        NPU 0-7\n"
        "fail    npu health  NPU 3: Alarm\n"
        "                    why: a sick NPU ends or slows the whole job\n"
        "                    fix: choose another\n"
        "\n1 fail, 1 ok\n"
    )
    assert "\x1b[31m" in as_table(findings, colours=True)
    assert json.loads(as_json(findings))[1]["fix"] == "choose another"


def test_every_check_has_a_name_and_a_reason() -> None:
    assert len({check.name for check in checks.ALL}) == len(checks.ALL) >= 20
    assert all(check.why for check in checks.ALL)
