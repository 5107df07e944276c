"""Mock-Ascend: fakes what a platform gives to a node (environment, files, npu-smi), never the launcher."""
