"""Train and time on a GPU machine without a network and with little time, in slices.

    python tools/offline_gpu pack --out FOLDER --piece 64M --python 3.12   # here: wheels, weights, data
    python offline_gpu.pyz unpack FOLDER --home HOME                        # there, as pieces arrive
    python offline_gpu.pyz run --home HOME --store STORE --slice 9m         # there, until it ends with exit code 0
    python offline_gpu.pyz pack-results --home HOME --store STORE --out OUT --piece 16M --most 8
    python tools/offline_gpu join OUT --to RESULTS                          # here

Exit codes: 0 all done, 1 something failed, 2 wrong usage, 3 the same command continues.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import packing
import packing_results
import pieces
import unpacking
import update_times
from gpu_steps import Installation, OfflineRun
from pieces import OfflineError
from settings import SCALES
from stepping import STOPPED

TOOL = Path(__file__).resolve().parent  # a folder, or the file that `pack` makes of it


def duration(text: str) -> float:
    """Convert 30s, 9m or 1h30m to seconds. Raises ValueError for any other text."""
    parts = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", text)
    total = sum(
        int(number or 0) * unit for number, unit in zip(parts.groups() if parts else (), (3600, 60, 1), strict=False)
    )
    if not total:
        raise ValueError(text)
    return float(total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; return its exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return int(chosen.command(chosen))
    except OfflineError as error:
        print(f"offline_gpu: {error}", file=sys.stderr)
        return error.code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = result.add_subparsers(required=True, metavar="COMMAND")

    pack = commands.add_parser("pack", help="write wheels of all but torch, weights and data in pieces")
    pack.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    pack.add_argument(
        "--piece", type=pieces.parse_size, default="64M", metavar="SIZE", help="largest file; default 64M"
    )
    pack.add_argument("--python", default="3.12", metavar="VERSION", help="of Python there; default 3.12")
    pack.add_argument("--torch", default="2.11.0", metavar="VERSION", help="of torch there; default 2.11.0")
    pack.add_argument("--platform", action="append", default=[], metavar="TAG", help="of wheels that work there")
    pack.set_defaults(command=_pack)

    unpack = commands.add_parser("unpack", help="join the pieces, check and install them")
    unpack.add_argument("folder", type=Path, metavar="FOLDER", help="with some or all of the pieces")
    unpack.add_argument("--home", type=Path, required=True, metavar="HOME", help="where all is installed")
    unpack.set_defaults(command=_unpack)

    run = commands.add_parser("run", help="doctor, check, times, table and rows, as far as the slice goes")
    _add_places(run)
    run.add_argument("--device", default="cuda", metavar="NAME", help="cuda, cuda:N or cpu; default cuda")
    run.add_argument("--tiny", action="store_true", help="tiny numbers, to try every part on a CPU")
    run.add_argument("--times-for", type=duration, default="4m", metavar="TIME", help="of all slices; default 4m")
    run.add_argument("--rows-for", type=duration, default="12m", metavar="TIME", help="of all slices; default 12m")
    run.add_argument("--slice", type=duration, default="9m", metavar="TIME", help="of this call; default 9m")
    run.set_defaults(command=_run)

    results = commands.add_parser("pack-results", help="write table, records and best.pt in pieces")
    _add_places(results)
    results.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    results.add_argument("--piece", type=pieces.parse_size, default="16M", metavar="SIZE", help="default 16M")
    results.add_argument("--most", type=int, default=8, metavar="N", help="files, with the manifest; default 8")
    results.set_defaults(command=_pack_results)

    join = commands.add_parser("join", help="check and extract the pieces of results")
    join.add_argument("folder", type=Path, metavar="FOLDER")
    join.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    join.set_defaults(command=_join)

    times = commands.add_parser("times", help="time updates alone; `run` does it")
    times.add_argument("--store", type=Path, required=True, metavar="FOLDER")
    times.add_argument("--scale", choices=list(SCALES), default="full")
    times.add_argument("--device", default="cuda", metavar="NAME")
    times.add_argument("--seconds", type=float, default=240, help="after which no other setting is begun")
    times.set_defaults(command=_times)
    return result


def _add_places(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", type=Path, required=True, metavar="FOLDER", help="of everything that is made")
    command.add_argument("--home", type=Path, metavar="HOME", help="of `unpack`; without it, this Python's vqbench")


def _pack(chosen: argparse.Namespace) -> int:
    for name in packing.pack(chosen.out, chosen.piece, chosen.python, chosen.torch, chosen.platform):
        print(f"{(chosen.out / name).stat().st_size:>12,}  {name}")
    return 0


def _unpack(chosen: argparse.Namespace) -> int:
    print(f"installed: {unpacking.unpack(chosen.folder, chosen.home)}")
    return 0


def _installation(home: Path | None) -> Installation:
    """Return the Python that has vqbench, and where its data and weights are."""
    if home is None:
        return Installation(sys.executable, TOOL, {}, None)
    home = home.absolute()
    if not (home / "ready.json").is_file():
        raise OfflineError(f"{home}: nothing is installed here; `unpack` first", 2)
    commit = json.loads((home / "ready.json").read_text())["commit"]
    return Installation(str(home / "venv" / "bin" / "python"), TOOL, {"VQBENCH_CACHE": str(home / "cache")}, commit)


def _run(chosen: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))  # so that what was started is stopped, too
    run = OfflineRun(chosen.store.absolute(), _installation(chosen.home), print_now)
    run.begin("tiny" if chosen.tiny else "full", chosen.device)
    if not run.work(chosen.slice, chosen.times_for, chosen.rows_for):
        print("offline_gpu: the slice is over; the same command continues", file=sys.stderr)
        return STOPPED
    return int(any(entry["code"] for entry in run.state.steps.values()))


def print_now(text: str) -> None:
    """Print a line that is seen at once, also in a pipe."""
    print(text, flush=True)


def _pack_results(chosen: argparse.Namespace) -> int:
    run = OfflineRun(chosen.store.absolute(), _installation(chosen.home), print_now)
    names, left_out = packing_results.pack_results(run, chosen.out, chosen.piece, chosen.most)
    for name in names:
        print(f"{(chosen.out / name).stat().st_size:>12,}  {name}")
    if left_out:
        print(f"without the weights of {', '.join(left_out)}, for lack of room", file=sys.stderr)
    return 0


def _join(chosen: argparse.Namespace) -> int:
    pieces.join(chosen.folder, packing_results.NAME, chosen.to)
    print(f"records: {chosen.to / 'runs'}; table: {chosen.to / 'table.md'}")
    return 0


def _times(chosen: argparse.Namespace) -> int:
    chosen.store.mkdir(parents=True, exist_ok=True)
    path = chosen.store / "times.jsonl"
    return 0 if update_times.measure(chosen.scale, chosen.device, path, chosen.seconds) else STOPPED


if __name__ == "__main__":
    sys.exit(main())
