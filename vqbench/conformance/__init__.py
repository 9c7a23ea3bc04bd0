"""The conformance kit: what every quantizer must hold to before its numbers may stand beside others.

One file per family of checks. A check is a function of a :class:`~vqbench.conformance.case.Case` that ends by raising
a finding; :mod:`vqbench.testing` is the door for people.
"""

from vqbench.conformance import contract, evaluation, gradients, inputs, ranks, state
from vqbench.conformance.outcome import Check

CHECKS: tuple[Check, ...] = (
    *contract.CHECKS,
    *gradients.CHECKS,
    *evaluation.CHECKS,
    *state.CHECKS,
    *inputs.CHECKS,
    *ranks.CHECKS,
)
