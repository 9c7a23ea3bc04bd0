"""The conformance kit: what every quantizer must keep before its values may stand beside others.

One file per family of checks. A check is a function of a :class:`~vqbench.conformance.case.Case` that raises a finding
unless it passes; :mod:`vqbench.testing` runs them.
"""
