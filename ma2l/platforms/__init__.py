"""Where ma2l can wake up: one file per place, and an ordered list that decides and says which one and why.

``base`` says what a place is made of, ``modelarts``, ``volcano``, ``mindcluster`` and ``bare`` are the places, ``rank``
is the case of being one rank already, ``signs`` forbid an automatic mock, ``tables`` knows where rank tables are
announced, ``share`` splits servers among pods, ``locate`` finds the own node in a table, ``visible`` its devices,
``master`` the address of node 0, and ``topology`` asks them all in order.
"""
