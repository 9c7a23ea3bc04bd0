"""All checks, by the kind of plugin that they are for."""

from __future__ import annotations

from collections.abc import Mapping

from vqbench.conformance.outcome import Check
from vqbench.conformance.quantizers import (
    contract_checks,
    evaluation_checks,
    gradient_checks,
    input_checks,
    rank_checks,
    state_checks,
)
from vqbench.registry import Kind

CHECKS: Mapping[Kind, tuple[Check, ...]] = {
    "quantizers": (
        *contract_checks.CHECKS,
        *gradient_checks.CHECKS,
        *evaluation_checks.CHECKS,
        *state_checks.CHECKS,
        *input_checks.CHECKS,
        *rank_checks.CHECKS,
    ),
}
