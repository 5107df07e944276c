"""A platform's agent that starts and kills the workers of a node by itself, in place of the launcher.

An agent is an object with ``register_callbacks(name, function)`` and ``start()``, which returns or exits when the job
is over. It gets the four functions that MindSpore's msrun offers:

==================== ===================== =====================================================================
``KILL_WORKER``      list of pids          SIGKILL to these workers and all below them, to all for ``-1``; 0
``START_ALL_WORKER`` nothing               starts all workers, after killing those that run; 0, or 1 if one has ended
``START_WORKER_LIST`` list of local ranks  starts these; as above
``MONITOR``          list of local ranks   for each of them (``-1``: all) ``pid``, ``status``, ``global_rank``,
                                           ``local_rank`` and ``node_id``, by local rank
==================== ===================== =====================================================================

A status is ``None`` while the worker runs, 0 after it has ended well, 200 before its first start, else how it ended
(negative for a signal). Sources: ``process_entity/_api.py`` and ``RSCPluginHandle`` in ``mindspore/utils/utils.py`` of
MindSpore 2.10; ``MSRunPlugin`` and ``MsAgent`` of TaskD in Ascend/mind-cluster.

The agent runs in a process of its own (``host``), with the Python that the job has on PATH, because that is where it is
installed. That process is the parent of the workers (``workers``) and stands in the launcher's plan for all of them
(``plan``): whatever the agent does or fails to do, the launcher stops, sweeps and reports as ever.
"""
