"""What a training measured: the files that its ranks wrote, read, merged by the rules of Ais-Bench, and shown.

    directories, bucket ─► sources ─► figures ─► merge ─► Result ─► show

``figures``, ``merge`` and ``show`` are pure. ``collect`` is what a node does at the end of a run.
"""
