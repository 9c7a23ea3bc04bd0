"""Compare vqbench with a clone of the authors' code, in float64.

    python tools/parity.py --reference path/to/CVQ-VAE --reference path/to/sqvae

Imports the quantizers and models of your own clone (lyndonzheng/CVQ-VAE or sony/sqvae), trains them side by side with
those of vqbench, with equal weights, inputs and random draws, and prints how much every result differs. The exit code
is 1 if any relative difference exceeds 1e-9. Importing a clone runs its code.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.conformance.quantizers.paired_steps import float64
from vqbench.errors import UsageError
from vqbench.system.output import grid

LIMIT = 1e-9  # of a relative difference; rounding in float64 gives 1e-12 and less
STEPS = 20
ANCHORS = {"closest": "closest", "random": "random", "probrandom": "probability"}  # their names, and ours
DISTANCES = {"l2": "l2", "cos": "cosine"}


class Differences:
    """The largest difference of each quantity, over all settings and steps."""

    def __init__(self, compared: str) -> None:
        self.compared = compared
        self.largest: dict[str, tuple[float, str]] = {}  # quantity -> difference, and the setting in which it occurs

    @torch.no_grad()
    def add(self, quantity: str, ours: Tensor, theirs: Tensor, setting: str) -> None:
        """Compare two tensors: the largest difference, relative to the largest value; of codes, how many differ."""
        if ours.shape != theirs.shape:
            raise UsageError(f"{quantity}: ours is {tuple(ours.shape)}, theirs {tuple(theirs.shape)}, in {setting}")
        if ours.dtype == torch.int64:
            difference = float((ours != theirs).sum())
        else:
            difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-300))
            difference = math.inf if math.isnan(difference) else difference
        if difference >= self.largest.get(quantity, (-1.0, ""))[0]:
            self.largest[quantity] = difference, setting

    def table(self) -> str:
        """Return one row per quantity, with the setting in which the difference is largest."""
        rows = [
            [quantity, f"{difference:.1e}" if difference else "0", setting if difference else ""]
            for quantity, (difference, setting) in self.largest.items()
        ]
        return f"{self.compared}\n\n{grid(['quantity', 'difference', 'largest in'], rows)}\n"

    def agree(self) -> bool:
        """Whether every difference is within the limit."""
        return all(difference <= LIMIT for difference, _ in self.largest.values())


# The reference --------------------------------------------------------------------------------------------------------


class TorchWith:
    """The module torch with some functions replaced, for a reference module alone."""

    def __init__(self, **replaced: Callable[..., Tensor]) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def on_the_cpu(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of torch that ignores the device; the release names "cuda" wherever it makes a tensor."""
    return lambda *args, **options: function(*args, **{**options, "device": "cpu"})


def load(folder: Path, *names: str) -> list[ModuleType]:
    """Import modules of a clone, and leave no trace in ``sys``."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        return [importlib.import_module(name) for name in names]
    except ImportError as error:
        raise UsageError(f"{folder}: cannot be imported ({error}); install what it needs") from error
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def images(count: int) -> Tensor:
    """Return training images (count, 1, 28, 28) of Fashion-MNIST in [0, 1], from those that vqbench ships."""
    pixels = registry.create("datasets", "fashion_mnist_5k").pixels("train")[:count]
    return torch.as_tensor(pixels).double() / 255


# CVQ-VAE --------------------------------------------------------------------------------------------------------------


def compare_cvq(folder: Path, steps: int) -> list[Differences]:
    """Compare the quantizer and whole training steps with lyndonzheng/CVQ-VAE."""
    quantise, modules = load(folder, "quantise", "modules")
    settings = list(itertools.product(DISTANCES, ANCHORS, (True, False), (True, False)))
    alone = Differences(f"CVQ-VAE: quantizer alone, {len(settings)} settings, {steps} steps each")
    for distance, anchor, online, contrastive in settings:
        cvq_steps(quantise, alone, steps, distance, anchor, online, contrastive)
    whole = Differences(f"CVQ-VAE: whole model, 4 settings, {steps} updates each")
    training_steps(quantise, modules, whole, steps, "l2", None, True, False)
    training_steps(quantise, modules, whole, steps, "cos", "probrandom", False, False)
    training_steps(quantise, modules, whole, steps, "cos", "probrandom", True, False)
    training_steps(quantise, modules, whole, steps, "cos", "probrandom", True, True)
    return [alone, whole]


def named(distance: str, anchor: str | None, online: bool, contrastive: bool) -> str:
    """Return a short name of a setting of CVQ."""
    if anchor is None:
        return f"vq, {DISTANCES[distance]}"
    words = [DISTANCES[distance], ANCHORS[anchor], "online" if online else "offline"]
    return ", ".join(words + ["contrastive"] * contrastive)


def ours_like(theirs: Any, distance: str, anchor: str | None, online: bool, contrastive: bool) -> Any:
    """Create the quantizer of vqbench with the reference's setting and codebook."""
    budget = {"num_codes": theirs.num_embed, "dim": theirs.embed_dim}
    if anchor is None:
        ours = registry.create("quantizers", "vq", **budget, distance=DISTANCES[distance])
    else:
        options = {"distance": DISTANCES[distance], "anchor": ANCHORS[anchor], "contrastive_gradient": "released"}
        ours = registry.create("quantizers", "cvq", **budget, **options, online=online, contrastive=contrastive)
    ours.codebook.data.copy_(theirs.embedding.weight.data)
    return ours


def draw_alike(quantise: ModuleType, ours: Any, features: Tensor, seed: int) -> None:
    """Let the reference draw the anchors that ours is about to draw from ``seed``.

    Both draw integers alike. For ``probability`` vqbench has no whole matrix to draw from, and other draws of equal
    distribution; its own are given to the reference in the place of ``torch.multinomial``.
    """
    if getattr(ours, "anchor", None) != "probability":
        quantise.torch = torch  # type: ignore[attr-defined]  # its module's name for torch
        return
    torch.manual_seed(seed)
    drawn = Q.anchors("probability", features, ours.codebook, ours.distance)  # (K, D)
    index = (features[None] == drawn[:, None]).all(2).int().argmax(1)  # (K,)
    quantise.torch = TorchWith(multinomial=lambda *_, **__: index[:, None])  # type: ignore[attr-defined]


def cvq_steps(
    quantise: ModuleType, found: Differences, steps: int, distance: str, anchor: str, online: bool, contrastive: bool
) -> None:
    """Move both codebooks freely for some steps on the same features, and compare everything after each."""
    setting = named(distance, anchor, online, contrastive)
    num_codes, dim = 32, 8
    torch.manual_seed(1)
    theirs = quantise.VectorQuantiser(num_codes, dim, 0.25, distance, anchor, not online, contrastive)
    ours = ours_like(theirs, distance, anchor, online, contrastive)
    codebooks = ours.codebook, theirs.embedding.weight
    optimizers = [torch.optim.Adam([codebook], lr=3e-3) for codebook in codebooks]
    base, upstream = torch.randn(8, dim, 8, 8), torch.randn(8, dim, 8, 8)
    for step in range(steps):
        z = base + 0.1 * torch.randn(base.shape)  # N = 512 features
        inputs = [z.clone().requires_grad_() for _ in optimizers]
        draw_alike(quantise, ours, Q.flatten(z, dim), step)
        torch.manual_seed(step)
        out = ours(inputs[0])
        torch.manual_seed(step)
        z_q, loss, (_, _, codes) = theirs(inputs[1])
        for optimizer, quantized, term in zip(optimizers, (out.z_q, z_q), (out.loss, loss), strict=True):
            optimizer.zero_grad()
            ((quantized * upstream).mean() + term).backward()
        gradients = [codebook.grad.clone() for codebook in codebooks]
        for optimizer in optimizers:
            optimizer.step()
        found.add("codes that differ", out.codes.flatten(), codes, setting)
        found.add("z_q", out.z_q, z_q, setting)
        found.add("loss", out.loss, loss, setting)
        found.add("gradient of features", inputs[0].grad, inputs[1].grad, setting)
        found.add("gradient of codebook", *gradients, setting)
        found.add("codebook", *(codebook.data for codebook in codebooks), setting)
        found.add("usage", ours.usage, theirs.embed_prob, setting)


def training_steps(
    quantise: ModuleType,
    modules: ModuleType,
    found: Differences,
    steps: int,
    distance: str,
    anchor: str | None,
    online: bool,
    contrastive: bool,
) -> None:
    """Train both whole models on the same images, and compare losses and weights after each update."""
    setting = named(distance, anchor, online, contrastive)
    torch.manual_seed(2)
    theirs = modules.Model(1, 32, 2, 8, 64, 16, 0.25, distance, anchor or "none", not online, contrastive)
    backbone = registry.create("backbones", "conv", channels=1, dim=16, hidden=32, residual_hidden=8, blocks=2)
    ours = Autoencoder(backbone, ours_like(theirs._vq_vae, distance, anchor, online, contrastive))
    their_weights = [weight for name, weight in theirs.named_parameters() if "_vq_vae" not in name]
    with torch.no_grad():
        for own, their in zip(backbone.parameters(), their_weights, strict=True):
            own.copy_(their)
    pixels = images(32 * steps)
    variance = float(pixels.var(correction=0))
    optimizers = [torch.optim.Adam(model.parameters(), lr=3e-4) for model in (ours, theirs)]
    for step, x in enumerate((2 * pixels - 1).split(32)):
        z = backbone.encode(x)
        draw_alike(quantise, ours.quantizer, Q.flatten(z.detach(), 16), step)
        torch.manual_seed(step)
        out = ours.quantizer(z)
        error = F.mse_loss(backbone.decode(out.z_q), x)
        torch.manual_seed(step)
        reconstruction, term, *_ = theirs(x)
        losses = (
            ours.quantizer.objective(error, out, x[0].numel(), 1 / variance),
            F.mse_loss(reconstruction, x) / variance + term,
        )
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.add("loss", *losses, setting)
        found.add("weights of backbone", joined(backbone.parameters()), joined(their_weights), setting)
        found.add("codebook", ours.quantizer.codebook.data, theirs._vq_vae.embedding.weight.data, setting)
    ours.eval()
    theirs.eval()
    x = 2 * images(32) - 1
    found.add("reconstructions", backbone.decode(ours.quantizer(backbone.encode(x)).z_q), theirs(x)[0], setting)


def joined(tensors: Any) -> Tensor:
    """Return all values of some tensors, (n,)."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


# SQ-VAE ---------------------------------------------------------------------------------------------------------------


def compare_sqvae(folder: Path, steps: int) -> list[Differences]:
    """Compare whole training steps with sony/sqvae, Gaussian type I, in its own network for MNIST."""
    quantizer, model = load(folder / "vision", "quantizer", "model")
    for module in (quantizer, model):
        module.torch = TorchWith(**{name: on_the_cpu(getattr(torch, name)) for name in ("rand", "zeros", "tensor")})  # type: ignore[attr-defined]
    found = Differences(f"SQ-VAE: quantizer and model, Gaussian type I, {steps} updates")
    torch.manual_seed(3)
    theirs = model.GaussianSQVAE(sqvae_settings(), SimpleNamespace(bn=True, var_q=False, arelbo=True))
    ours = registry.create("quantizers", "sqvae", num_codes=64, dim=16, scale=10.0, anneal_steps=None)
    ours.codebook.data.copy_(theirs.codebook.data)
    ours.log_scale.data.copy_(theirs.log_param_q_scalar.data)
    encoder, decoder = copy.deepcopy(theirs.encoder), copy.deepcopy(theirs.decoder)
    network = nn.ModuleList([encoder, decoder])
    their_network = nn.ModuleList([theirs.encoder, theirs.decoder])
    moved = [ours.codebook, ours.log_scale], [theirs.codebook, theirs.log_param_q_scalar]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(each, lr=1e-3) for each in moved]
    # No Adam here: batch normalisation cancels the biases before it, and Adam blows up the rounding in their gradient.
    optimizers += [torch.optim.SGD(each.parameters(), lr=1e-5) for each in (network, their_network)]
    for step, x in enumerate(images(16 * steps).split(16)):
        ours.anneal(step / steps)
        theirs.quantizer.set_temperature(float(ours.temperature))
        torch.manual_seed(step)
        out = ours(encoder(x))
        error = F.mse_loss(decoder(out.z_q), x)
        torch.manual_seed(step)
        _, latents, loss = theirs(x, flg_train=True)
        losses = ours.objective(error, out, x[0].numel()), loss["all"]
        for optimizer in optimizers:
            optimizer.zero_grad()
        for each in losses:
            each.backward()
        gradients = [ours.codebook.grad.clone(), theirs.codebook.grad.clone()]
        for optimizer in optimizers:
            optimizer.step()
        found.add("z_q", out.z_q, latents["z_to_decoder"], "training")
        found.add("loss", *losses, "training")
        found.add("gradient of codebook", *gradients, "training")
        found.add("codebook", ours.codebook.data, theirs.codebook.data, "training")
        found.add("log variance", ours.log_scale.data, theirs.log_param_q_scalar.data, "training")
        found.add("weights of network", joined(network.parameters()), joined(their_network.parameters()), "training")
    for part in (ours, network, theirs):
        part.eval()
    x = images(16)
    z_q = ours(encoder(x)).z_q
    reconstruction, latents, _ = theirs(x, flg_train=False, flg_quant_det=True)
    found.add("z_q", z_q, latents["z_to_decoder"], "evaluation")
    found.add("reconstructions", decoder(z_q), reconstruction, "evaluation")
    return [found]


def sqvae_settings() -> SimpleNamespace:
    """Return the reference's settings for MNIST, with a smaller codebook."""
    return SimpleNamespace(
        dataset=SimpleNamespace(name="MNIST", dim_x=784),
        model=SimpleNamespace(param_var_q="gaussian_1", log_param_q_init=math.log(10.0)),
        network=SimpleNamespace(name="resnet", num_rb=2),
        quantization=SimpleNamespace(size_dict=64, dim_dict=16, temperature=SimpleNamespace(init=1.0)),
    )


# The table ------------------------------------------------------------------------------------------------------------

# Files by which a clone is recognised -> its comparison
LAYOUTS: Mapping[tuple[str, ...], Callable[[Path, int], list[Differences]]] = {
    ("quantise.py", "modules.py"): compare_cvq,
    ("vision/quantizer.py", "vision/model.py"): compare_sqvae,
}


def compare(folder: Path, steps: int) -> list[Differences]:
    """Run the comparison for the clone in ``folder``. Raises UsageError for an unknown layout."""
    for files, comparison in LAYOUTS.items():
        if all((folder / name).is_file() for name in files):
            with float64():
                return comparison(folder, steps)
    wanted = " or ".join(" and ".join(files) for files in LAYOUTS)
    raise UsageError(f"{folder}: no clone of CVQ-VAE or sqvae; it should have {wanted}")


def commit(folder: Path) -> str:
    """Return the commit of a clone, or a remark."""
    done = subprocess.run(["git", "-C", folder, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "not a git repository"


def main(words: Sequence[str] | None = None) -> int:
    """Compare every clone and print one table. Return the exit code."""
    parser = argparse.ArgumentParser(description="Compare vqbench with a clone of the authors' code, in float64.")
    parser.add_argument("--reference", metavar="CLONE", type=Path, action="append", required=True, help="its folder")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"updates of each setting; {STEPS} without")
    options = parser.parse_args(words)
    folders = [folder.resolve() for folder in options.reference]
    try:
        found = [each for folder in folders for each in compare(folder, options.steps)]
    except UsageError as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    for folder in folders:
        print(f"{folder.name}, commit {commit(folder)}")
    print(f"torch {torch.__version__}, float64; differences relative to the largest value\n")
    for each in found:
        print(each.table())
    agree = all(each.agree() for each in found)
    print(f"Agrees: no difference above {LIMIT:g}." if agree else f"DIFFERS: a difference is above {LIMIT:g}.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
