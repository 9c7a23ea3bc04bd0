"""The backbones of the high-resolution tables: their sizes, their shapes, and what sets them apart."""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqbench import registry, spec
from vqbench.assets import torch_archives
from vqbench.backbone import Autoencoder
from vqbench.backbones._blocks import MapNorm
from vqbench.backbones.movq import ModulatedNorm, MoVQ
from vqbench.backbones.pretrained import Pretrained
from vqbench.backbones.seqgan import SeQGAN, WindowAttention
from vqbench.backbones.vit import ViT, positions
from vqbench.backbones.vqgan import VQGAN
from vqbench.dataset import Dataset
from vqbench.errors import AssetError, Interrupted, RunError, UsageError
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.cvq_grouped import CVQGrouped
from vqbench.quantizers.vq import VQ
from vqbench.recipe import Task
from vqbench.recipes.gan import Gan
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine

TINY = {"width": 32, "multipliers": "1x1", "blocks": 1, "z_channels": 16}


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_vqgan_has_the_published_size_and_shapes() -> None:
    """At f16 encoder, decoder and 1x1 convolutions have the released model's parameters; 256 pixels go to 16x16."""
    with torch.device("meta"):
        net = VQGAN(3, 256)
        z = net.encode(torch.zeros(2, 3, 256, 256))
        assert net.decode(z).shape == (2, 3, 256, 256)
    assert z.shape == (2, 256, 16, 16)
    assert size(net.encoder) == 29_298_176
    assert size(net.decoder) == 42_449_795
    assert size(net.quant_conv) + size(net.post_quant_conv) == 131_584
    assert net.last_layer() is net.decoder.conv_out.weight


def test_first_stages_of_latent_diffusion_have_their_published_sizes() -> None:
    """The same blocks, without attention or with other multipliers, give the sizes of latent diffusion's f4 and f8."""
    with torch.device("meta"):
        f4 = VQGAN(3, 3, multipliers="1x2x4", attention="none", z_channels=3)
        f8 = VQGAN(3, 4, multipliers="1x2x2x4", attention="32", z_channels=4)
    assert (size(f4.encoder), size(f4.decoder)) == (22_337_411, 32_960_771)
    assert (size(f8.encoder), size(f8.decoder)) == (27_397_764, 40_253_955)


def test_rqvae_is_a_preset_at_f32() -> None:
    """RQ-VAE's backbone has one resolution more, so that 256 pixels go to 8x8 positions."""
    name, cls, args = registry.find("backbones", "rqvae")
    assert name == "vqgan"
    with torch.device("meta"):
        net = cls(3, 256, **args)
        z = net.encode(torch.zeros(1, 3, 256, 256))
        assert z.shape == (1, 256, 8, 8)
        assert net.decode(z).shape == (1, 3, 256, 256)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"width": 48}, "multiple of 32"),
        ({"multipliers": "1,2"}, "must read like 1x1x2x2x4"),
        ({"attention": "20"}, "no map of an image of 256 pixels has the side 20"),
    ],
)
def test_what_cannot_be_built_is_refused(args: dict[str, object], sentence: str) -> None:
    """Widths that group norm cannot divide, lists that do not read as such, and sides that no map has."""
    with pytest.raises(UsageError, match=sentence):
        VQGAN(3, 8, **args)  # type: ignore[arg-type]


def test_attention_stands_where_its_sides_say() -> None:
    """Sides are counted for images of ``size`` pixels: the map of 16 is level 4 at 256 pixels and level 2 at 64."""
    for pixels, level in ((256, 4), (64, 2)):
        with torch.device("meta"):
            net = VQGAN(3, 8, width=32, attention="16", size=pixels)
        levels: Any = net.encoder.down
        found = {index: len(each.attn) for index, each in enumerate(levels) if len(each.attn)}
        assert found == {level: 2}


def test_modulation_by_value() -> None:
    """A modulated norm is the group norm times one product of the quantized map plus another, code by code."""
    torch.manual_seed(0)
    norm = ModulatedNorm(32, 4)
    x, z_q = torch.randn(2, 32, 8, 8), torch.randn(2, 4, 4, 4)
    larger = z_q.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = norm.norm_layer(x) * norm.conv_y(larger) + norm.conv_b(larger)
    torch.testing.assert_close(norm(x, z_q), expected)


def test_movq_modulates_every_norm_of_the_decoder_alone() -> None:
    """The encoder is VQGAN's, the decoder has no plain norm left, and two 1x1 convolutions more for each."""
    with torch.device("meta"):
        net, plain = MoVQ(3, 256), VQGAN(3, 256)
        assert net.decode(torch.zeros(1, 256, 16, 16)).shape == (1, 3, 256, 256)
    assert size(net.encoder) == 29_298_176
    modulated = [module for module in net.decoder.modules() if isinstance(module, ModulatedNorm)]
    norms = [module for module in plain.decoder.modules() if isinstance(module, MapNorm)]
    assert len(modulated) == len(norms)
    more = sum(2 * (256 + 1) * norm.num_channels for norm in norms)  # a weight for each channel of z_q, and a bias
    assert size(net.decoder) == 42_449_795 + more == 48_765_827


def test_movq_decodes_by_what_the_codes_are_and_not_only_by_its_input() -> None:
    """Where the quantized map reaches the norms alone, the image still changes with it."""
    torch.manual_seed(0)
    net = MoVQ(3, 8, **TINY, attention="none", size=32)  # type: ignore[arg-type]
    nn.init.zeros_(net.post_quant_conv.weight)
    first, second = (net.decode(torch.randn(1, 8, 16, 16)) for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("variant", "dim", "shapes"),
    [
        ("small", 512, ((8, 512), (8, 512))),
        ("base", 768, ((12, 768), (12, 768))),
        ("large", 512, ((8, 512), (32, 1280))),
    ],
)
def test_vit_sizes_and_shapes(variant: Any, dim: int, shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """Each variant has the parameters that its layers make, 256 pixels go to 32x32 positions of ``dim`` and back."""
    with torch.device("meta"):
        net = ViT(3, dim, variant=variant)
        z = net.encode(torch.zeros(1, 3, 256, 256))
        assert z.shape == (1, dim, 32, 32)
        assert net.decode(z).shape == (1, 3, 256, 256)
    (_, first), (_, second) = shapes
    # a layer: 4 products of the attention, one with bias, two of four times the width with theirs, and two norms
    layers = sum(count * (12 * width**2 + 10 * width) + 2 * width for count, width in shapes)
    patches = (64 * 3 * first + first) + (64 * 3 * second + 3)
    linear = 0 if dim == second else dim * second + second
    assert size(net) == layers + patches + linear
    assert net.last_layer() is net.pixels.weight


def test_positions_are_sines_of_rows_and_columns() -> None:
    """The first half of the channels encodes the column, the second the row, in the frequencies of the transformer."""
    table = positions(8, 3, 5, torch.device("cpu")).view(3, 5, 8)
    for row in range(3):
        for column in range(5):
            expected = [
                turn(place / scale) for place in (column, row) for turn in (math.sin, math.cos) for scale in (1, 100)
            ]
            assert table[row, column].tolist() == pytest.approx(expected, abs=1e-6)


def test_regions_are_blocks_and_dilated_ones() -> None:
    """A change of one position reaches exactly its block, or exactly the positions that are whole windows away."""
    torch.manual_seed(0)
    x = torch.randn(1, 32, 8, 8)
    moved = x.clone()
    moved[0, :, 2, 5] += 1
    for dilated in (False, True):
        net = WindowAttention(32, 4, dilated)
        nn.init.normal_(net.proj_out.weight)
        assert torch.equal(net(x), x), "nothing changes before the second phase"
        net.active = True
        net.norm = nn.Identity()  # type: ignore[assignment]  # group norm sees the whole map
        net.norm.forward = lambda x: x  # type: ignore[method-assign]
        reached = {tuple(at) for at in (net(moved) - net(x)).abs().sum((0, 1)).gt(1e-6).nonzero().tolist()}
        rows, columns = (range(0, 8, 2), range(1, 8, 2)) if dilated else (range(4), range(4, 8))
        assert reached == {(row, column) for row in rows for column in columns}


def test_seqgan_is_convolutions_alone_until_its_second_phase() -> None:
    """No attention acts at first; the second phase begins where the first ended, frozen but for the decoder."""
    with torch.device("meta"):
        full = SeQGAN(3, 256)
        assert full.decode(full.encode(torch.zeros(1, 3, 256, 256))).shape == (1, 3, 256, 256)
    widths = (512, 256, 256)  # of 16x16, 32x32 and 64x64; three attentions each: norm, q, k, v and the last product
    attentions = sum(3 * (2 * width + 4 * width**2 + 4 * width) for width in widths)
    plain = VQGAN.__new__(VQGAN)
    with torch.device("meta"):
        VQGAN.__init__(plain, 3, 256, attention="none", middle=False)
    assert size(full.encoder) == size(plain.encoder)
    assert size(full.decoder) == size(plain.decoder) + attentions
    torch.manual_seed(0)
    net = seqgan()
    x = torch.randn(1, 3, 32, 32)
    before = net.decode(net.encode(x))
    net.begin_refinement()
    torch.testing.assert_close(net.decode(net.encode(x)), before)
    learning = {name.split(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {"decoder", "post_quant_conv"}


def seqgan() -> SeQGAN:
    return SeQGAN(3, 8, **TINY, size=32, refined="16", window=4)  # type: ignore[arg-type]


def test_what_was_refined_is_measured_as_refined() -> None:
    """The second phase is part of the state: a new model that loads it decodes as the trained one does."""
    torch.manual_seed(0)
    net, fresh = seqgan(), seqgan()
    net.begin_refinement()
    for module in net.modules():
        if isinstance(module, WindowAttention):
            nn.init.normal_(module.proj_out.weight)
    fresh.load_state_dict(net.state_dict())
    z = torch.randn(1, 8, 16, 16)
    assert torch.equal(net.decode(z), fresh.decode(z))


class Noise(Dataset):
    """Eight images of 32 pixels."""

    channels, size = 3, 32

    def pixels(self, split: Any) -> Tensor:
        return torch.randint(256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def work(model: Autoencoder, folder: Path, **changes: Any) -> Task:
    return Task(
        model, Noise(), spec.seeds(1, "noise"), Engine("cpu"), folder, **{"monitor": CodebookMonitor(), **changes}
    )


def test_the_second_phase_trains_the_decoder_alone(tmp_path: Path) -> None:
    """Encoder and codebook end as the first phase left them, the decoder's attentions do not, and resuming is exact."""

    def recipe(refine: int) -> Gan:
        return Gan(
            steps=2, batch_size=4, learning_rate=1e-2, perceptual=0.0, adversarial=0.0, discriminator_width=8,
            refine_steps=refine, refine_learning_rate=1e-3,
        )  # fmt: skip

    def model() -> Autoencoder:
        torch.manual_seed(0)
        return Autoencoder(seqgan(), CVQ(16, 8))

    ends = {}
    for refine in (0, 3):
        task = work(model(), tmp_path / str(refine))
        recipe(refine).fit(task)
        ends[refine] = {name: value.clone() for name, value in task.model.state_dict().items()}
    frozen = ("backbone.encoder.", "backbone.quant_conv.", "quantizer.")
    same = {name for name in ends[0] if torch.equal(ends[0][name], ends[3][name])}
    assert {name for name in ends[0] if name.startswith(frozen)} <= same
    assert not same & {name for name in ends[0] if "proj_out" in name or "decoder.conv_out" in name}
    for done in (2, 3, 4):  # stopped after each of these updates
        task = work(model(), tmp_path / "parts", stopped=iter([False] * (1 if done == 2 else 0) + [True]).__next__)
        with pytest.raises(Interrupted, match=f"update {done} of 5"):
            recipe(3).fit(task)
    task = work(model(), tmp_path / "parts")
    recipe(3).fit(task)
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, ends[3][name]), name


def test_cvq_of_chunks_is_cvq_of_all_chunks_together() -> None:
    """Its codes, loss and relocations are those of one cvq on the chunks as features, four codes per position."""
    torch.manual_seed(0)
    quantizer = CVQGrouped(16, 8, groups=4, group_codes=16)
    inner = CVQ(16, 2)
    inner.load_state_dict(quantizer.chunks.state_dict())
    z = torch.randn(3, 8, 5, 5)
    results = []
    for each, given in ((quantizer, z), (inner, z.reshape(12, 2, 5, 5))):
        torch.manual_seed(1)
        results.append(each(given))
    ours, theirs = results
    assert ours.codes.shape == (3, 5, 5, 4)
    assert torch.equal(ours.codes.permute(0, 3, 1, 2).reshape(12, 5, 5, 1), theirs.codes)
    assert torch.equal(ours.loss, theirs.loss)
    assert torch.equal(quantizer.chunks.codebook, inner.codebook)
    quantizer.eval()
    out = quantizer(z)
    torch.testing.assert_close(quantizer.decode(out.codes), out.z_q)
    assert quantizer.bits == 16


class ModelCheckpoint:
    """Stand-in for the callback of a trainer that checkpoints name."""


def checkpoint(folder: Path, **changes: Any) -> tuple[Path, dict[str, Tensor]]:
    """A file as taming-transformers leaves it: weights, codebook, the loss's own nets, and what the trainer adds."""
    torch.manual_seed(3)
    net = VQGAN(3, 8, **TINY, attention="none", size=32)  # type: ignore[arg-type]
    state = {
        **net.state_dict(),
        "quantize.embedding.weight": nn.Parameter(torch.randn(16, 8)),
        "loss.discriminator.main.0.weight": torch.randn(4, 3, 4, 4),
        **changes,
    }
    state = {name: value for name, value in state.items() if value is not None}
    path = folder / "last.ckpt"
    torch.save({"epoch": 3, "callbacks": {ModelCheckpoint: {"best": 0.5}}, "state_dict": state}, path)
    return path, state


def pretrained(path: Path, **changes: Any) -> Pretrained:
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "0" * 64
    args = {**TINY, "attention": "none", "size": 32, "file": str(path), "sha256": digest, **changes}
    return Pretrained(3, 8, **args)


def test_a_published_checkpoint_is_measured_as_it_is(tmp_path: Path) -> None:
    """Its weights come into the backbone and its codebook into the quantizer, and no step changes either."""
    path, state = checkpoint(tmp_path)
    model = Autoencoder(pretrained(path), VQ(16, 8, beta_on="codebook"))
    Gan(steps=0, batch_size=4, learning_rate=0.0, perceptual=0.0).fit(work(model, tmp_path / "run"))
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert torch.equal(best["quantizer.codebook"], state["quantize.embedding.weight"])
    for name in VQGAN(3, 8, **TINY, attention="none", size=32).state_dict():  # type: ignore[arg-type]
        assert torch.equal(best[f"backbone.{name}"], state[name]), name


@pytest.mark.parametrize(
    ("changes", "args", "sentence"),
    [
        ({"encoder.conv_in.bias": None}, {}, r"lacks 1 \(encoder.conv_in.bias\)"),
        ({"extra.weight": torch.zeros(1)}, {}, r"has in addition 1 \(extra.weight\)"),
        ({"quantize.embedding.weight": None}, {}, "has no quantize.embedding.weight"),
        ({}, {"z_channels": 32}, r"has in another shape .*\(16, 32, 3, 3\) for \(32, 32, 3, 3\)"),
        ({}, {"sha256": "ab" * 32}, "its sha256 is [0-9a-f]{64}, not abab"),
        ({}, {"file": "nowhere.ckpt"}, "cannot be read"),
    ],
)
def test_checkpoints_of_another_model_are_refused(
    tmp_path: Path, changes: dict[str, Any], args: dict[str, Any], sentence: str
) -> None:
    """Parameters that do not fit are named instead of keeping their random initial values."""
    path, _ = checkpoint(tmp_path, **changes)
    with pytest.raises(AssetError, match=sentence):
        pretrained(path, **args)


def test_a_codebook_of_another_size_is_refused(tmp_path: Path) -> None:
    """A quantizer that the file's codebook does not fit is an error that states the budget which would."""
    path, _ = checkpoint(tmp_path)
    model = Autoencoder(pretrained(path), VQ(32, 8))
    with pytest.raises(RunError, match=r"16 codes x 8, the quantizer has one of 32 x 8; use vq, with codebook"):
        Gan(steps=0, batch_size=4, learning_rate=0.0, perceptual=0.0).fit(work(model, tmp_path / "run"))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    """Text, a truncated file and a pickle from before torch 1.6 give one sentence."""
    path, _ = checkpoint(tmp_path)
    whole = path.read_bytes()
    old = io.BytesIO()
    torch.save({"state_dict": {}}, old, _use_new_zipfile_serialization=False)
    for content in (b"not a checkpoint", whole[: len(whole) // 2], old.getvalue()):
        path.write_bytes(content)
        with pytest.raises(AssetError, match=r"not a checkpoint as torch\.save writes it"):
            pretrained(path)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    """A pickle that would call the shell leaves no trace, by whichever opcode, while its tensors are read."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {"weight": torch.arange(3.0), "evil": Evil()}, "more": [Evil()]}, path)
    with path.open("rb") as file:
        content = torch_archives.load_checkpoint(file)
    assert content["state_dict"]["weight"].tolist() == [0, 1, 2]
    assert not (tmp_path / "executed").exists()
    with zipfile.ZipFile(path) as archive:  # the same bytes do call it where pickle is trusted
        (entry,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        with pytest.raises(pickle.UnpicklingError):
            pickle.Unpickler(io.BytesIO(archive.read(entry))).load()


def test_files_are_looked_for_in_the_folder_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that does not exist as given is looked up below VQBENCH_DATA, so that suites need no absolute paths."""
    path, state = checkpoint(tmp_path)
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    net = Pretrained(3, 8, **TINY, attention="none", size=32, file="last.ckpt", sha256=digest)  # type: ignore[arg-type]
    assert torch.equal(net.decoder.conv_out.weight, state["decoder.conv_out.weight"])
