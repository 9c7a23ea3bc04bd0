"""What quantizers cost: their time, their memory, their share of a training step, and the limit of the machine.

``subjects`` says what is measured and ``report`` how it is kept and printed, both without torch. Every row is measured
in a process of its own by ``worker``, with ``memory``, ``timing`` and ``cost``.
"""
