"""The conformance kit: checks that every ranked quantizer must pass.

One file per family of checks. A check is a function of a :class:`~vqbench.conformance.case.Case` that raises a finding
unless it passes; :mod:`vqbench.testing` runs them.
"""
