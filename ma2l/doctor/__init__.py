"""``ma2l doctor``: is this node ready for a training, and if not, what to do.

A check is a small function from a ``Scene`` to a ``Finding``; ``checks.ALL`` lists them. What cannot be known is
``unknown``, never guessed. Nothing here changes anything, and nothing here is imported by a run that does not ask.
"""
