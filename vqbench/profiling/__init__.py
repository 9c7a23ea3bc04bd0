"""What quantizers cost: their time, their memory, their share of a training step, and the limit of the machine.

``command`` has the options, ``driver`` carries them out, ``subjects`` says what is measured and ``report`` how it is
kept and printed, all without torch. Every row is measured in a process of its own by ``worker``, with ``memory``,
``timing`` and ``cost``.
"""
