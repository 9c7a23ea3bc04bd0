"""The conformance kit: checks that every ranked quantizer must pass.

One file per family of checks. A check is a function of a :class:`~vqbench.conformance.case.Case` that raises a finding
unless its property holds. The public interface is :mod:`vqbench.testing`.
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
