"""What stands between msrun and a worker that is no Python program: as little as there can be."""

import os
import sys

if os.environ.get("MS_ROLE") == "MS_SCHED":
    sys.exit(0)
os.execv(sys.argv[1], sys.argv[1:])
