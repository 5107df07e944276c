"""The object store of Huawei Cloud: a run's logs and results go there, and figures are read from there.

    url       names of objects                      upload    what is missing, and sending it
    access    who and where                         request   what a run wants to have sent, kept as a file
    client    the SDK, its only user                at_end    the end of a run
    reading   figures for ``ma2l results``

Everything but ``at_end`` and ``request`` runs in a process of its own: the SDK is large, and a connection that hangs
must not keep a run.
"""
