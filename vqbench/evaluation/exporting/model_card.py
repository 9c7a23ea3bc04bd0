"""The README of an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqbench import registry
from vqbench.evaluation.coding import ImageCoder
from vqbench.evaluation.reconstructions import BATCH
from vqbench.evaluation.trained_model import variant
from vqbench.store.record import Record, Value

DESCRIBED = {
    "model.safetensors": "weights, named as in the modules",
    "encode.pt2": "`torch.export`: images (N, C, S, S) float32 in [0, 1] to codes (N, h, w, depth) int64",
    "decode.pt2": "`torch.export`: codes to images in [0, 1]",
    "codes.npz": "codes of the test split, in its order",
    "reconstructions.npy": "reconstructions of the test split, (N, C, S, S) float32 in [0, 1]",
}


def model_card(coder: ImageCoder, record: Record, about: dict[str, Any], left_out: Sequence[str]) -> str:
    """Write the model card in Markdown: what it is, how to use it, its values."""
    run, dataset = record.run, registry.load("datasets", record.run.dataset.name)
    source, licence = dataset.origin(run.dataset.args)
    quantizer = registry.load("quantizers", run.quantizer.name)
    lines = [
        f"# {variant(run.quantizer)} on {dataset.title}, seed {run.seed}",
        "",
        f"A tokenizer for images, trained and evaluated by vqbench {about['vqbench']} as run `{run.key}`.",
        "",
        *_facts(coder, record, about, quantizer.paper),
        "",
        "## Use",
        "",
        "```python",
        "import vqbench",
        "",
        'run = vqbench.load_run("FOLDER")  # this folder',
        "codes = run.encode(images)  # (N, C, S, S), uint8 or floats in [0, 1]",
        "images = run.decode(codes)",
        "```",
        "",
        "## Values",
        "",
        *_values(record),
        "",
        "## Files",
        "",
        "| file | content | sha256 |",
        "|---|---|---|",
        *(f"| `{name}` | {DESCRIBED.get(name, '')} | `{digest}` |" for name, digest in about["files"].items()),
        "",
        "`run.json` has all arguments, the record and these digests; `vqbench.load_run` checks that of the weights.",
        *(f"\nThere is {sentence}." for sentence in left_out),
        "",
        "## Data",
        "",
        f"{dataset.title}: {source}. Licence: {licence}.",
    ]
    return "\n".join(lines) + "\n"


def _facts(coder: ImageCoder, record: Record, about: dict[str, Any], paper: str) -> list[str]:
    run, made = record.run, record.made
    torch = f"torch {made['versions']['torch']}"
    facts = {
        "method": f"`{run.quantizer.name}` ({paper})",
        "arguments": ", ".join(f"`{name}={value}`" for name, value in run.quantizer.args.items()),
        "images": f"{coder.channels} x {coder.size} x {coder.size}",
        "backbone": f"`{run.backbone.name}`",
        "trained by": f"`{run.recipe.name}`, {made['seconds']:,.0f} s on {made['device']}, {torch}",
    }
    if codes := about["codes"]:
        shape = " x ".join(map(str, codes["shape"]))
        facts["codes"] = f"{shape} of {codes['num_codes']:,}: {codes['bits']:,.0f} bits an image"
        if coder.model.quantizer.batch_dependent:
            facts["codes"] += f"; they depend on the other images of the batch, at most {BATCH} here"
    return ["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items())]


def _values(record: Record) -> list[str]:
    rows = [
        f"| {_label(name)} | {_shown(name, value)} | {protocol} | {value.images:,} |"
        for protocol, values in record.values.items()
        for name, value in values.items()
    ]
    if not rows:
        return ["The run has no values."]
    return ["| metric | value | protocol | images |", "|---|---|---|---|", *rows]


def _label(name: str) -> str:
    if name not in registry.names("metrics"):  # of a plugin that is not loaded
        return name
    metric = registry.load("metrics", name)
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _shown(name: str, value: Value) -> str:
    digits = registry.load("metrics", name).digits if name in registry.names("metrics") else 4
    return "–" if value.value is None else f"{value.value:.{digits}f}"
