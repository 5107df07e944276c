"""The kernel as ma2l uses it: spawn, reap, prctl, inotify and one wait for everything. Knows nothing of ranks."""
