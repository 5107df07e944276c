"""What this host says about its NPUs: device files, variables of the container runtime, npu-smi, hccn_tool."""
