"""The conformance kit: what every quantizer must hold to before its numbers may stand beside others.

One file per family of checks. A check is a function of a :class:`~vqbench.conformance.case.Case` that ends by raising
a finding; :mod:`vqbench.testing` is the door for people.
"""

from vqbench.conformance import (
    contract_checks,
    evaluation_checks,
    gradient_checks,
    input_checks,
    rank_checks,
    state_checks,
)
from vqbench.conformance.outcome import Check

CHECKS: tuple[Check, ...] = (
    *contract_checks.CHECKS,
    *gradient_checks.CHECKS,
    *evaluation_checks.CHECKS,
    *state_checks.CHECKS,
    *input_checks.CHECKS,
    *rank_checks.CHECKS,
)
