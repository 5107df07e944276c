"""Training code as Ais-Bench adapts it for ModelArts: it cuts the rank table to its own server by itself.

What the patches of ``ais-bench_workload`` (Ascend/tools) add to a model's ``train.py``, in the same order and with the
same fixed numbers, but for the path of the sentinel file; and what they write at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

CARDS = 8


def be_single_server(sentinel: str) -> None:
    """Ranks count from 0 on every server; local rank 0 rewrites the table, the others wait for its sentinel."""
    old = int(os.environ["RANK_ID"])
    new = old % CARDS
    os.environ.update(RANK_ID=str(new), DEVICE_ID=str(new), RANK_SIZE=str(CARDS))
    if new != 0:
        while not os.path.exists(sentinel):
            time.sleep(0.01)
        return
    path = os.environ["RANK_TABLE_FILE"]
    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    server = table["server_list"][old // CARDS]
    for device in server["device"]:
        device["rank_id"] = str(int(device["rank_id"]) % CARDS)
    table.update(server_count="1", server_list=[server])
    with open(path, "w", encoding="utf-8") as file:
        json.dump(table, file)
    with open(sentinel, "w", encoding="utf-8"):
        pass


def main() -> None:
    """Train, that is: write what would have been measured."""
    parser = argparse.ArgumentParser()
    for option in ("data_url", "train_url", "enable_modelarts", "epoch_size", "sentinel"):
        parser.add_argument(f"--{option}")
    args = parser.parse_args()
    single = os.environ.get("SINGLESERVER_MODE") == "True"
    if single:
        be_single_server(f"{args.sentinel}.{os.environ['VC_TASK_INDEX']}")
    rank, server = int(os.environ["RANK_ID"]), os.environ["VC_TASK_INDEX"]
    with open(os.environ["RANK_TABLE_FILE"], encoding="utf-8") as file:
        devices = [device for entry in json.load(file)["server_list"] for device in entry["device"]]
    if sorted(int(device["rank_id"]) for device in devices) != list(range(int(os.environ["RANK_SIZE"]))):
        sys.exit("the rank table does not list the ranks of this job")
    place = os.path.join(args.train_url, server) if single else args.train_url
    os.makedirs(place, exist_ok=True)
    with open(f"{place}/throughput_{rank}.json", "w", encoding="utf-8") as file:
        file.write(str(100.0 + rank))
    if rank == 0:
        with open(f"{args.train_url}/accuracy{'_' + server if single else ''}.json", "w", encoding="utf-8") as file:
            file.write("0.75")
        with open(f"{args.train_url}/ranksize.json", "w", encoding="utf-8") as file:
            file.write(os.environ["RANK_SIZE"])


if __name__ == "__main__":
    main()
