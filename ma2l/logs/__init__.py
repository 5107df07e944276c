"""Workers' logs: what the files are called and how the console follows them. ``ma2l.log`` is the launcher's own log."""
