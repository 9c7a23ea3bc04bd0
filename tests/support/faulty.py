"""Quantizers with one planted fault each, which the conformance kit must detect, and correct ones, which must pass."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.conformance.templates.quantizer import QuantizerTemplate as Template
from vqbench.quantizer import Quantizer, QuantizerOutput

# --- Honest ---------------------------------------------------------------------------------------------------------


class Renamed(Template):
    """Another start, another name for the codebook's rows, more to plot: harmless."""

    def __init__(self, num_codes: int, dim: int, *, beta: float = 0.5, spread: float | None = None) -> None:
        super().__init__(num_codes, dim, beta=beta)
        nn.init.normal_(self.codebook, std=spread or 1.0)

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.logs["largest"] = out.z_q.detach().abs().max()
        return out


class Averages(Template):
    """A codebook of running means, kept in buffers, that all ranks move alike: harmless."""

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        del self.codebook
        self.codebook = nn.Buffer(Q.initial_codebook(num_codes, dim, "normal"))

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        if self.training:
            self.update(Q.flatten(z, self.dim).detach().float(), out.codes)
        return out

    @torch.no_grad()
    def update(self, features: Tensor, codes: Tensor) -> None:
        counts = self.total(torch.zeros(self.num_codes).index_add_(0, codes.flatten(), torch.ones(len(features))))
        sums = self.total(torch.zeros(self.num_codes, self.dim).index_add_(0, codes.flatten(), features))
        means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), self.codebook)
        self.codebook.lerp_(means, 0.1)

    def total(self, values: Tensor) -> Tensor:
        return Q.all_sum(values)


class TwoCodes(Template):
    """Two codes per position, the second for the residual of the first: harmless."""

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        self.depth = 2

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        first = Q.code_map(Q.assign(Q.flatten(z, self.dim), self.codebook), z)
        rest = Q.flatten(z - Q.look_up(first, self.codebook).detach(), self.dim)
        codes = torch.cat([first, Q.code_map(Q.assign(rest, self.codebook), z)], dim=-1)
        z_q = self.decode(codes)
        loss = F.mse_loss(z_q, z.detach()) + F.mse_loss(z, z_q.detach())
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss)

    def decode(self, codes: Tensor) -> Tensor:
        return Q.look_up(codes[..., :1], self.codebook) + Q.look_up(codes[..., 1:], self.codebook)


HONEST: tuple[type[Quantizer], ...] = (Template, Renamed, Averages, TwoCodes)

# --- The contract ---------------------------------------------------------------------------------------------------


class NoDefault(Template):
    def __init__(self, num_codes: int, dim: int, *, beta: float) -> None:
        super().__init__(num_codes, dim, beta=beta)


class HiddenOptions(Template):
    def __init__(self, num_codes: int, dim: int, **options: Any) -> None:
        super().__init__(num_codes, dim, **options)


class NoAnnotation(Template):
    def __init__(self, num_codes, dim, *, beta=0.25) -> None:  # type: ignore[no-untyped-def]
        super().__init__(num_codes, dim, beta=beta)


class NoPaper(Template):
    """A quantizer without a source."""

    paper: ClassVar[str] = " "


class WrongPreset(Template):
    """A preset with a word where a number belongs."""

    presets: ClassVar[Any] = {"loud": {"beta": "loud"}}


class LargerThanAsked(Template):
    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(2 * num_codes, dim)


class Int32Codes(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.codes = out.codes.int()
        return out


class NoDepthAxis(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.codes = out.codes[..., 0]
        return out


class LossPerImage(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.loss = out.loss.expand(len(z))
        return out


class DoubleOutput(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.z_q = out.z_q.double()
        return out


class CountsFromOne(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.codes = out.codes + 1
        return out

    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes - 1) if int(codes.min()) > 0 else super().decode(codes)


class DividesByNorm(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z / z.norm(dim=1, keepdim=True))


class SendsMoreThanCodes(Template):
    """Passes a little of the feature itself to the decoder: no second stage could restore it from the codes."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.z_q = out.z_q + 0.1 * z
        return out


class CheapBits(TwoCodes):
    """Two codes at the price of one."""

    @property
    def bits(self) -> float:
        return math.log2(self.num_codes)


class DearBits(Template):
    @property
    def bits(self) -> float:
        return float(self.num_codes)


class RefusesLastCode(Template):
    def decode(self, codes: Tensor) -> Tensor:
        return F.embedding(codes[..., 0], self.codebook[:-1]).permute(0, 3, 1, 2)


class AnnealsToInfinity(Template):
    def anneal(self, progress: float) -> None:
        self.beta = 1 / (1 - progress)


# --- Gradients ------------------------------------------------------------------------------------------------------


class NoStraightThrough(Template):
    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.z_q = self.decode(out.codes)
        return out


class FirstImageOnly(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.z_q = torch.cat([out.z_q[:1], out.z_q[1:].detach()])
        return out


class CodebookWithoutGradient(Template):
    """The commitment alone: reconstruction still improves, since the encoder learns."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.loss = F.mse_loss(z, out.z_q.detach())
        return out


class ForgetsItsLoss(Template):
    def objective(self, error: Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0) -> Tensor:
        return weight * error


class ValueForObjective(Template):
    def objective(self, error: Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0) -> Tensor:
        return (weight * error + out.loss).detach()


# --- Evaluation -----------------------------------------------------------------------------------------------------


class SamplesInEvaluation(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z + 0.5 * torch.randn_like(z))


class MovesInEvaluation(Averages):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        self.update(Q.flatten(z, self.dim).detach(), out.codes)
        return out


class RemembersEvaluation(Template):
    """An attribute that no state_dict shows, set by evaluation and read by training."""

    seen = 0

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        if not self.training:
            self.seen += 1
        out.loss = out.loss * (1 + self.seen)
        return out


class AssignsOtherwiseInEvaluation(Template):
    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        distance: Q.Distance = "cosine" if self.training else "l2"
        codes = Q.code_map(Q.assign(Q.flatten(z, self.dim), self.codebook, distance), z)
        z_q = self.decode(codes)
        loss = F.mse_loss(z_q, z.detach()) + F.mse_loss(z, z_q.detach())
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss)


class CentresOnBatch(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z - z.mean((0, 2, 3), keepdim=True))


class DeclaresItsBatch(CentresOnBatch):
    """Says that its codes depend on the batch: allowed, with a warning."""

    batch_dependent: ClassVar[bool] = True


class RateOfNothing(Template):
    def learning_rates(self) -> Mapping[str, float]:
        return {"embedding": 0.02}


class RateOfZero(Template):
    def learning_rates(self) -> Mapping[str, float]:
        return {next(name for name, _ in self.named_parameters()): 0.0}


class QuantizesLate(Template):
    """Returns the features unchanged until the end of its schedule."""

    late = False

    def anneal(self, progress: float) -> None:
        self.late = progress >= 1

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        if self.training and not self.late:
            out.z_q = z
        return out


class CentresInTraining(Template):
    """Statistics of the batch in training, none in evaluation: allowed, with a warning."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z - z.detach().mean((0, 2, 3), keepdim=True) if self.training else z)


class SamplesInTraining(Template):
    """Noise in training, none in evaluation: allowed, with a warning."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z + torch.randn_like(z) if self.training else z)


class LeansOnFirstImage(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z - z[:1].mean())


# --- State ----------------------------------------------------------------------------------------------------------


class DrawsFromNumpy(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z + 0.1 * float(np.random.rand()) * self.training)


class DrawsFromPython(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z + 0.1 * random.random() * self.training)


class DrawsFromTheSystem(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z + int.from_bytes(os.urandom(2), "big") / 2**16 * self.training)


class SeedsTorch(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        torch.manual_seed(0)
        return super().forward(z)


class FlagOutsideState(Template):
    """Starts its codebook from the first batch it trains on, and remembers in a plain attribute that it did."""

    started = False

    def forward(self, z: Tensor) -> QuantizerOutput:
        if self.training and not self.started:
            self.started = True
            with torch.no_grad():
                self.codebook.copy_(Q.flatten(z, self.dim)[torch.arange(self.num_codes) % (z.numel() // self.dim)])
        return super().forward(z)


class CounterNotSaved(Template):
    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        self.steps = nn.Buffer(torch.zeros(()), persistent=False)

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        if self.training:
            self.steps += 1
        out.loss = out.loss / (1 + self.steps)
        return out


class WritesToInput(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        with torch.no_grad():
            z.clamp_(-2, 2)
        return super().forward(z)


class HoardsFeatures(Template):
    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        self.pool: list[Tensor] = []

    def forward(self, z: Tensor) -> QuantizerOutput:
        self.pool.append(z.detach())
        return super().forward(z)


class GrowingPool(Template):
    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        self.pool = nn.Buffer(torch.zeros(0, dim), persistent=False)

    def forward(self, z: Tensor) -> QuantizerOutput:
        self.pool = torch.cat([self.pool, Q.flatten(z.detach(), self.dim)])
        return super().forward(z)


class KeepsGraph(Template):
    """A running mean that was not detached: each step's graph hangs on the next."""

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim)
        self.mean = nn.Buffer(torch.zeros(()))

    def forward(self, z: Tensor) -> QuantizerOutput:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * z.mean()
        return super().forward(z)


# --- Inputs ---------------------------------------------------------------------------------------------------------


class NeedsManyFeatures(Template):
    """Draws as many features as it has codes, without repeats."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        features = Q.flatten(z, self.dim)
        if self.training:
            chosen = features[torch.randperm(len(features))[: self.num_codes]]
            assert chosen.shape == self.codebook.shape, "shapes do not match"
        return super().forward(z)


class UnbiasedSpread(Template):
    """A standard deviation over the batch: not a number for a single feature."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.loss = out.loss * (1 + z.detach().std(dim=0).mean())
        return out


class SquareMaps(Template):
    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.codes = out.codes.transpose(1, 2).reshape(len(z), z.shape[3], z.shape[2], 1)
        return out


class ViewsFeatures(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z.view(len(z), self.dim, -1).view(z.shape))


class ReadsStrides(Template):
    """Depends on the memory order of the features."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z.as_strided(z.shape, torch.empty(z.shape).stride()))


class HalfPrecision(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        distances = torch.cdist(
            Q.flatten(z, self.dim), self.codebook.to(z.dtype), compute_mode="use_mm_for_euclid_dist"
        )
        codes = Q.code_map(distances.argmin(1), z)
        z_q = self.decode(codes).to(z.dtype)
        loss = F.mse_loss(z_q, z.detach()) + F.mse_loss(z, z_q.detach())
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss)


class OtherwiseCompiled(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(2 * z if torch.compiler.is_compiling() else z)


class AsksTheDevice(Template):
    """Waits for a value in every step, which breaks the graph: allowed, with a warning."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        return super().forward(z if float(z.detach().abs().max()) < 1e9 else z / 2)


# --- Ranks ----------------------------------------------------------------------------------------------------------


class LocalAverages(Averages):
    """Every rank moves its codebook by its own features."""

    def total(self, values: Tensor) -> Tensor:
        return values


class RankOneKnows(Averages):
    """All ranks agree, but on the statistics of the last one alone."""

    def total(self, values: Tensor) -> Tensor:
        return Q.all_gather(values[None])[-1]


class LocalContrast(Template):
    """A term over all pairs of features, each rank's own: allowed, with a warning."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.loss = out.loss + z.mean().square()
        return out


class FailsOnRanks(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        if Q.world_size() > 1:
            raise RuntimeError("one device only")
        return super().forward(z)


class NeverEnds(Template):
    """The first rank never returns, so the other waits for it."""

    def forward(self, z: Tensor) -> QuantizerOutput:
        while Q.world_size() > 1 and torch.distributed.get_rank() == 0:
            time.sleep(0.1)
        return super().forward(z)


class OneRankExchanges(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        if Q.world_size() > 1 and torch.distributed.get_rank() == 0:
            Q.all_sum(z)
        return super().forward(z)


class SumsInEvaluation(Template):
    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        out.logs |= Q.usage_logs(Q.code_counts(out.codes, self.num_codes))
        return out


class OneDevice(LocalAverages):
    """Declared as unfit for several ranks: harmless."""

    distributed: ClassVar[bool] = False


FAULTS: dict[str, tuple[type[Quantizer], ...]] = {  # the check that must catch it -> what was planted
    "constructor": (NoDefault, HiddenOptions, NoAnnotation, NoPaper, WrongPreset),
    "budget": (LargerThanAsked,),
    "shapes": (Int32Codes, NoDepthAxis, LossPerImage, DoubleOutput),
    "code_range": (CountsFromOne, DividesByNorm),
    "decode_inverts_codes": (SendsMoreThanCodes,),
    "true_bits": (CheapBits, DearBits, RefusesLastCode),
    "annealing": (AnnealsToInfinity,),
    "own_rates": (RateOfNothing, RateOfZero),
    "encoder_learns": (NoStraightThrough, FirstImageOnly),
    "everything_learns": (CodebookWithoutGradient,),
    "objective_is_a_loss": (ForgetsItsLoss, ValueForObjective),
    "evaluation_repeats": (SamplesInEvaluation,),
    "evaluation_changes_nothing": (MovesInEvaluation, RemembersEvaluation),
    "training_agrees": (AssignsOtherwiseInEvaluation,),
    "batch_order": (CentresOnBatch, LeansOnFirstImage),
    "one_seed_one_result": (DrawsFromNumpy, DrawsFromPython, DrawsFromTheSystem, SeedsTorch),
    "state_dict_is_all": (FlagOutsideState, CounterNotSaved),
    "input_is_left_alone": (WritesToInput,),
    "memory_stays": (HoardsFeatures, GrowingPool, KeepsGraph),
    "small_batches": (NeedsManyFeatures, UnbiasedSpread),
    "odd_sizes": (SquareMaps,),
    "memory_layout": (ViewsFeatures, ReadsStrides),
    "bfloat16": (HalfPrecision,),
    "compiles": (OtherwiseCompiled,),
    "ranks_agree": (LocalAverages, FailsOnRanks),
    "two_ranks_are_one": (RankOneKnows,),
    "evaluation_is_local": (SumsInEvaluation,),
}
WARNED: dict[str, tuple[type[Quantizer], ...]] = {  # likewise, what is allowed with a warning
    "training_agrees": (CentresInTraining, SamplesInTraining, QuantizesLate),
    "batch_order": (DeclaresItsBatch,),
    "two_ranks_are_one": (LocalContrast,),
    "compiles": (AsksTheDevice,),
}
