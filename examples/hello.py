"""Say what the launcher gave this process. Standard library only, done in a few milliseconds.

ma2l --mock 2x4 python examples/hello.py
"""

import os


def main() -> None:
    got = {name: os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "DEVICE_ID", "NODE_RANK")}
    master = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    variables = " ".join(f"{name}={value}" for name, value in got.items())
    print(f"hello from rank {got['RANK']} of {got['WORLD_SIZE']} | {variables} MASTER={master}", flush=True)


if __name__ == "__main__":
    main()
