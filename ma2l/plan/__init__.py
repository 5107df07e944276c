"""What will run, decided completely before anything runs: the object that ``ma2l plan`` prints is the one that starts.

``make`` puts a plan together; ``hccl``, ``torch`` and ``dynamic_cluster`` each know one convention of telling ranks
about each other. Everything here is pure: what must be looked up on the host comes in as a ``Site``.
"""
