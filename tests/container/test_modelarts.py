"""A ModelArts job with this image: its user, its environment, its mounts, and a rank table that comes late."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.container import modelarts
from tests.container.engine import Container, Engine, Volumes

TABLE_DELAY = 3.0
DEVICES = tuple(range(8))
CODE = f"{modelarts.JOB_DIR}/code"
BOOT = f"{CODE}/train.py"
TRAIN = """\
import json, os, sys
names = ("RANK_ID", "RANK_SIZE", "DEVICE_ID", "GLOG_v", "ASCEND_GLOBAL_LOG_LEVEL", "ASCEND_GLOBAL_EVENT_ENABLE",
         "HOOK_RUN", "NPU-VISIBLE-DEVICES", "HOME", "SHLVL")
seen = {name: os.environ.get(name) for name in names}
table = os.environ["RANK_TABLE_FILE"]
seen["table"] = json.load(open(table))["status"], os.path.islink(table)
seen["cwd"], seen["user"], seen["args"] = os.getcwd(), (os.getuid(), os.getgid()), sys.argv[1:]
print("saw", json.dumps(seen), flush=True)
"""
HOOK = """\
#!/bin/bash
set -x
echo "hook: begin"
HERE=$(cd "$(dirname "$0")"; pwd)
BOOT_FILE=$(readlink -f `find ./ -name train.py`)
CODE=`dirname $BOOT_FILE`
pip install $CODE/run/protobuf*.whl
echo "hook: protobuf done, code $?"
sudo chmod +x $CODE/run/*.run
PACKAGE=`find $CODE/run/ -name "Ascend-cann-nnae*.run"`
sudo $PACKAGE --upgrade
echo "hook: CANN $PACKAGE done, code $?"
echo run >>$CODE/hook-runs
export HOOK_RUN=once
export GLOG_v=3
export ASCEND_GLOBAL_LOG_LEVEL=3
export ASCEND_GLOBAL_EVENT_ENABLE=0
export ASCEND_SLOG_PRINT_TO_STDOUT=0

set +x
"""
"""In the manner of the hook that Ais-Bench drops beside a boot file. What it installs is missing, and so is sudo."""


@pytest.mark.parametrize("boot", ["entrypoint", "boot command"])
def test_a_late_rank_table_starts_8_ranks_with_the_exports_of_the_hook(
    engine: Engine, image: str, tmp_path: Path, boot: str
) -> None:
    tmp_path.chmod(0o755)
    config = modelarts.ConfigMap(tmp_path / "config", "jobstart_hccl.json", modelarts.INITIALIZING)
    mount = modelarts.make_mount(tmp_path / "modelarts")
    (mount / "user-job-dir/code/train.py").write_text(TRAIN)
    (mount / "user-job-dir/code/ma-pre-start.sh").write_text(HOOK)
    words = ["python", BOOT, "--epochs", "5"]
    options = [*modelarts.USER, "--hostname", modelarts.pod(0), "--workdir", "/home/ma-user"]
    if boot == "boot command":
        options += ["--entrypoint", "bash"]
        words = ["-c", f"ma2l-entrypoint {' '.join(words)}"]
    env = modelarts.variables(0, 1, DEVICES, "172.16.0.100")
    volumes: Volumes = {config.folder: "/user/config", mount: f"{modelarts.MOUNT}:rw"}
    complete = threading.Timer(TABLE_DELAY, config.update, [modelarts.rank_table([DEVICES])])
    with Container(engine, image, *words, env=env, volumes=volumes, options=options) as container:
        container.wait_for("still initializing")
        complete.start()
        ended = container.finish()
    complete.join()
    print(ended.out, ended.err)

    assert ended.code == 0
    assert (mount / "user-job-dir/code/hook-runs").read_text() == "run\n"
    logs = sorted((mount / "log").glob("*-proc-rank-*-device-*.txt"))
    assert [log.name.partition("-proc-")[2] for log in logs] == [f"rank-{r}-device-{r}.txt" for r in range(8)]
    for rank, log in enumerate(logs):
        seen = json.loads(log.read_text().partition("saw ")[2])
        assert seen == {
            "RANK_ID": str(rank),
            "RANK_SIZE": "8",
            "DEVICE_ID": str(rank),
            "GLOG_v": "3",
            "ASCEND_GLOBAL_LOG_LEVEL": "3",
            "ASCEND_GLOBAL_EVENT_ENABLE": "0",
            "HOOK_RUN": "once",
            "NPU-VISIBLE-DEVICES": "0,1,2,3,4,5,6,7",
            "HOME": env["HOME"],
            "SHLVL": None if boot == "entrypoint" else "0",
            "table": ["completed", False],
            "cwd": "/home/ma-user",
            "user": [1000, 100],
            "args": ["--epochs", "5"],
        }
