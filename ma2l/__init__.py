"""ma2l: starts a training command once per Ascend NPU, wherever it wakes up."""

__version__ = "0.2.0"
