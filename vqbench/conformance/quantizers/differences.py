"""Describe how a quantizer's value differs from another's, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import vqbench.functional as Q
from vqbench.conformance.quantizers.paired_steps import ROUNDING, PairedSteps

CAUSES = {  # by what the value is called, first that fits; the page of checks has the same in words
    "codes in evaluation": "choose codes in evaluation as in training, and draw nothing",
    "z_q in evaluation": "return the code vectors in evaluation",
    "codes": "compare the lookup: sign of the distance, normalisation, transposed codebook, order of the positions",
    "z_q": "compare what goes to the decoder: the code vector as it is, normalised, or scaled",
    "loss": "compare the terms: sum or mean, squared or plain norm, beta on the commitment or on the codebook",
    "objective": "compare `objective`: the weight of the error, and the own terms",
    "gradient of loss": "compare where detach stands, beta on the commitment or the codebook term, sums and means",
    "gradient of z_q": "compare the estimator: z + (z_q - z).detach() passes the gradient on once, whatever the depth",
    "gradient of objective": "compare `objective`",
}


@dataclass(frozen=True)
class Step:
    """One step of both quantizers."""

    pair: PairedSteps
    step: int
    before: dict[str, Tensor]  # the reference's state before the step
    wanted: dict[str, Tensor]  # the reference's values
    found: dict[str, Tensor]  # the candidate's

    @property
    def rows(self) -> Tensor:
        """The features (N, dim) of the step."""
        return Q.flatten(self.pair.features(self.step), self.pair.reference.dim)

    @property
    def codebook(self) -> Tensor | None:
        """The codes (K, dim) before the step, if the state has such a matrix."""
        shape = (self.pair.reference.num_codes, self.pair.reference.dim)
        fitting = [value for name, value in self.before.items() if value.shape == shape and "codebook" in name]
        return fitting[0] if fitting else None


def describe(moment: Step, name: str) -> tuple[str, str]:
    """Return what differs in value ``name``, and what to compare."""
    found, wanted = moment.found[name], moment.wanted[name]
    do = next((text for start, text in CAUSES.items() if name.startswith(start)), "")
    if found.shape != wanted.shape:
        return f"{name}: shape {tuple(found.shape)} instead of {tuple(wanted.shape)}", do
    if not wanted.is_floating_point():
        what = _integers(name, found, wanted)
        extra = _lookup(moment, found) if name.startswith("codes") else ""
    else:
        what = f"{name}: {_floats(found, wanted)}"
        extra = _ratio(found, wanted)
    if " after " in name:
        state = name.partition(" after ")[0]
        if anchors := _anchors(moment, state, name):
            return f"{name}: {anchors}", "compare which feature is the anchor of a code: a sort has two ends"
        extra, do = _moved(moment, state, name, extra)
    if not torch.equal(moment.found["random numbers"], moment.wanted["random numbers"]):
        extra += "; it draws other random numbers than the reference"
    return what + extra, do


def _integers(name: str, found: Tensor, wanted: Tensor) -> str:
    places = (found != wanted).nonzero()
    first = places[0].tolist()
    where = ", ".join(map(str, first))
    own, other = int(found[tuple(first)]), int(wanted[tuple(first)])
    return f"{name}: {len(places)} of {wanted.numel()} differ, the first at ({where}): {own} instead of {other}"


def _floats(found: Tensor, wanted: Tensor) -> str:
    if not wanted.ndim:
        return f"{float(found):.6g} instead of {float(wanted):.6g}"
    gap = (found - wanted).abs()
    largest = float(wanted.abs().max())
    rows = int((gap.flatten(1).amax(1) if gap.ndim > 1 else gap).gt(ROUNDING * largest).sum())
    return f"{rows} of {len(wanted)} rows differ, by up to {float(gap.max()):.2g} (values up to {largest:.2g})"


def _ratio(found: Tensor, wanted: Tensor) -> str:
    """Return the factor between two tensors, if one explains the difference."""
    if not bool(found.any()):
        return "; the candidate's is zero"
    factor = float((found * wanted).sum() / wanted.square().sum()) if bool(wanted.any()) else 0.0
    if factor and torch.allclose(found, factor * wanted, rtol=1e-6, atol=1e-9 * float(found.abs().max())):
        return f"; the candidate's is {factor:.4g} times the reference's"
    return ""


def _lookup(moment: Step, found: Tensor) -> str:
    """Return the usual rule that explains the candidate's codes, if one does."""
    if (codebook := moment.codebook) is None or found.shape[-1] != 1:
        return ""
    z, codes = moment.rows, found.flatten()
    distance, cosine = torch.cdist(z, codebook), F.normalize(z, dim=1) @ F.normalize(codebook, dim=1).T
    rules = {
        "nearest by l2": distance.argmin(1),
        "nearest by cosine": cosine.argmax(1),
        "largest by inner product": (z @ codebook.T).argmax(1),
        "farthest by l2": distance.argmax(1),
        "farthest by cosine": cosine.argmin(1),
    }
    names = [rule for rule, chosen in rules.items() if bool((chosen == codes).all())]
    return f"; the candidate's codes are the {names[0]}" if names else ""


def near_ties(moment: Step, name: str, allowed: float) -> int:
    """Count the codes that differ if rounding decides all of them, else 0."""
    found, wanted = moment.found[name], moment.wanted[name]
    if (codebook := moment.codebook) is None or found.shape != wanted.shape or found.shape[-1] != 1:
        return 0
    places = (found != wanted).flatten()
    z = moment.rows[places]
    pair = [codebook[codes.flatten()[places]] for codes in (found, wanted)]
    far = [(z - each).norm(dim=1) for each in pair]
    turned = [F.cosine_similarity(z, each, dim=1) for each in pair]
    tied = ((far[0] - far[1]).abs() <= allowed * far[1]) | ((turned[0] - turned[1]).abs() <= allowed)
    return len(z) if bool(tied.all()) else 0


def _moved(moment: Step, state: str, name: str, ratio: str) -> tuple[str, str]:
    """Explain an entry of the state that the step moved elsewhere."""
    found, wanted, before = moment.found[name], moment.wanted[name], moment.before[state]
    if torch.equal(found, before):
        return "; the candidate leaves it unchanged", f"update {state} in every training step"
    if torch.equal(wanted, before):
        return "; the reference leaves it unchanged", f"do not change {state} in this step"
    if name.endswith("after the optimizer"):
        return ratio, f"leave {state} to the optimizer, with the gradient of the objective"
    return ratio, f"compare the update of {state}: decay, order of update and use, sums over the batch"


def _anchors(moment: Step, state: str, name: str) -> str:
    """Return to which features the codes move, if they move to features."""
    found, wanted, before = moment.found[name], moment.wanted[name], moment.before[state]
    if moment.codebook is None or before.shape != moment.codebook.shape or name.endswith("after the optimizer"):
        return ""
    off = (found - wanted).abs().amax(1) > ROUNDING * float(wanted.abs().max())
    own, other = (_targets(each[off], before[off], moment.rows) for each in (found, wanted))
    both = (own >= 0) & (other >= 0) & (own != other)
    if not bool(both.any()):
        return ""
    order = torch.cdist(before[off], moment.rows).argsort(1).argsort(1)  # (k, N), 0 is the nearest
    first = int(both.nonzero()[0])
    ends = [_rank(order[first], each[first], order[both], each[both]) for each in (own, other)]
    code = int(off.nonzero()[first])
    return (
        f"the anchors of {int(both.sum())} of {len(found)} codes differ; code {code} moves to feature "
        f"{int(own[first])}{ends[0]}, in the reference to feature {int(other[first])}{ends[1]}"
    )


def _targets(after: Tensor, before: Tensor, rows: Tensor) -> Tensor:
    """Return the feature (k,) that each code moves straight towards, or -1."""
    moves, ways = after - before, rows[None] - before[:, None]
    along, index = F.cosine_similarity(moves[:, None], ways, dim=2).max(1)
    return torch.where(along > 1 - 1e-9, index, -1)


def _rank(order: Tensor, index: Tensor, orders: Tensor, indices: Tensor) -> str:
    """Return the place of a feature by distance, and how many codes have that place."""
    place, count = int(order[index]), order.shape[0]
    same = Counter(orders.gather(1, indices[:, None]).flatten().tolist())[place]
    words = {0: "the nearest", count - 1: "the farthest"}.get(place, f"number {place + 1} by distance")
    return f", {words} of {count} (as {same} of these {len(indices)} codes do)"
