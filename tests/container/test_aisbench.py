"""An Ais-Bench job as it runs in the cloud: two containers with the image, its pre-start hook, and an object store.

16 mock ranks write their throughput, both nodes collect it, and everything ends in the bucket.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import modelarts
from tests.container.conftest import ADDRESSES, ROOT, SUBNET, packages_of
from tests.container.engine import Container, Engine, Volumes
from tests.container.test_modelarts import HOOK

CODE = f"{modelarts.JOB_DIR}/code"
STORE = f"{SUBNET}.20"
ENDPOINT = f"http://{STORE}:5000"
KEYS = {"OBS_ACCESS_KEY_ID": "AKIDOFATEST", "OBS_SECRET_ACCESS_KEY": "t0p-s3cret-0f-a-test", "OBS_ENDPOINT": ENDPOINT}
AS_BOTO = f"""
import boto3
keys = dict(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
client = boto3.client("s3", endpoint_url={ENDPOINT!r}, **keys)
"""
SINGLE_SERVER = "\nexport SINGLESERVER_MODE=True"
"""What Ais-Bench's launcher appends to a hook."""


@pytest.fixture(scope="module")
def image_with_obs(engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image as somebody builds it who wants uploads."""
    return engine.build(ROOT, tmp_path_factory.mktemp("obs"), BASE_IMAGE=base, EXTRAS="obs")


@pytest.fixture
def store(engine: Engine, image: str, network: str) -> Iterator[Container]:
    """The object store, with a bucket."""
    packages = packages_of(Path(sys.prefix), "moto", engine, image)
    options = ["--network", network, "--ip", STORE, "--entrypoint", "python"]
    words = ("-m", "moto.server", "-H", "0.0.0.0", "-p", "5000")
    with Container(engine, image, *words, volumes=packages, options=options) as container:
        container.wait_for("Running on")
        container.execute("python", "-c", AS_BOTO + "client.create_bucket(Bucket='bkt')")
        yield container


def node(
    engine: Engine, image: str, network: str, tmp_path: Path, number: int, volumes: Volumes, hook: str
) -> Container:
    mount = modelarts.make_mount(tmp_path / f"node{number}")
    shutil.copy(ROOT / "tests/integration/aisbench_train.py", mount / "user-job-dir/code/train.py")
    (mount / "user-job-dir/code/ma-pre-start.sh").write_text(hook)
    Path(mount, "user-job-dir/code/job.yaml").write_text(
        "[{'label': 'epoch_size', 'value': '5'}, {'label': 'sentinel', 'value': '/tmp/sentinel'}]"
    )
    env = modelarts.variables(number, 2, range(8), ADDRESSES[number])
    options = [*modelarts.USER, "--network", network, "--ip", ADDRESSES[number], "--hostname", modelarts.pod(number)]
    for other, address in enumerate(ADDRESSES):
        options += ["--add-host", f"{modelarts.dns_name(other)}:{address}"]
    words = ("--upload", "obs://bkt/job/", "--parameters", f"{CODE}/job.yaml", "python", f"{CODE}/train.py")
    places = {**volumes, mount: f"{modelarts.MOUNT}:rw"}
    return Container(engine, image, *words, env={**env, **KEYS}, volumes=places, options=options)


@pytest.mark.parametrize("single", [False, True], ids=["one job", "single-server"])
def test_16_ranks_measure_and_all_ends_in_the_bucket(
    engine: Engine, image_with_obs: str, network: str, store: Container, tmp_path: Path, single: bool
) -> None:
    tmp_path.chmod(0o755)
    config = modelarts.ConfigMap(tmp_path / "config", "jobstart_hccl.json", modelarts.rank_table([range(8)] * 2))
    hook = HOOK.rstrip("\n") + (SINGLE_SERVER if single else "")
    nodes = [
        node(engine, image_with_obs, network, tmp_path, n, {config.folder: "/user/config"}, hook) for n in range(2)
    ]
    for one in nodes:
        ended = one.finish()
        print(ended.out[-2000:], ended.err[-4000:])
        assert ended.code == 0
        assert KEYS["OBS_SECRET_ACCESS_KEY"] not in ended.out + ended.err
        assert " to obs://bkt/job/ in " in ended.err
    listing = store.execute(
        "python", "-c",
        AS_BOTO + "print(*(item['Key'] for item in client.list_objects_v2(Bucket='bkt')['Contents']), sep='\\n')",
    ).splitlines()  # fmt: skip
    figures = {f"{s}/throughput_{r}.json" for s in range(2) for r in range(8)} | {"accuracy_0.json", "accuracy_1.json"}
    if not single:
        figures = {f"throughput_{rank}.json" for rank in range(16)} | {"accuracy.json"}
    below = {name[len("job/") :] for name in listing}
    assert {name for name in below if not name.startswith("logs/")} == figures | {
        "ranksize.json", "node0.result.json", "node1.result.json",
    }  # fmt: skip
    logs = {name for name in below if "-proc-rank-" in name}
    assert len(logs) == 16
    assert {"logs/node0.outcome.json", "logs/node1.outcome.json"} <= below
    options = ["--network", network, "--entrypoint", "ma2l"]
    words = ("results", "--format", "json", "obs://bkt/job/")
    merged = engine.run(image_with_obs, *words, env=KEYS, options=options)
    assert merged.code == 0, merged.err
    result = json.loads(merged.out)
    assert result["throughput_ratio"] == (828.0 if single else 1720.0)
    assert (result["accuracy"], result["single_server"], len(result["ranks"])) == (0.75, single, 16)
