"""The peak memory of one encoder on one batch, in a process of its own.

python -m tests.benchmarks.encoder_memory --size base --peer transformers --state frozen --audio "8 x 5 s"

prints it as JSON. Of a mix the batch with the most padded samples is computed. On a CPU the process may take no more
than LARGEST_SHARE of the machine's memory: beyond it an allocation fails, and nothing else on the machine is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass

import torch

from upstream.errors import UserError
from upstream.out_of_memory import is_out_of_memory

from . import common
from .encoder_peers import DTYPES, OTHERS, OUR_MEANS, OURS, SIZES, Peer, audio, build, let_go
from .memory import STATUS, Watch, anonymous_memory
from .s3prl_loop import synchronize

LARGEST_SHARE = 0.8


@dataclass(frozen=True)
class Peak:
    """Bytes with the model in memory before the first call, at the peak of that call, and the seconds it took.

    On a CPU: anonymous memory of the process. On a GPU: what PyTorch has allocated there.
    failure: why there is nothing to report; then the numbers are zero.
    """

    before: int = 0
    peak: int = 0
    seconds: float = 0.0
    failure: str = ""


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--size", choices=SIZES, default="base", help="of the model")
    made.add_argument("--dtype", choices=DTYPES, default="float32", help="precision")
    made.add_argument("--peer", choices=(OURS, OUR_MEANS, *OTHERS), default=OURS, help="whose model")
    made.add_argument("--state", default="frozen", help='"frozen" or "as loaded"')
    made.add_argument("--audio", default="8 x 5 s", help='what it is given; "1 x S s" for S seconds')
    made.add_argument("--device", default="cpu", help="where it runs")
    options = common.parse(made, {"size": "tiny", "audio": "2 x 0.2 s"})
    refuse_unless_measurable(options.device)
    peers, notes = build(
        options.size, options.device, options.dtype, [options.peer] if options.peer in OTHERS else [], False
    )
    found = [peer for peer in peers if (peer.name, peer.state) == (options.peer, options.state)]
    if not found:
        raise UserError(f"There is no {options.peer} {options.state}. {' '.join(notes)}")
    (peer,) = found
    del peers, found  # ours goes where it is not what is measured
    print(json.dumps(asdict(measure(peer, options))))


def refuse_unless_measurable(device: str) -> None:
    """Raise UserError where the system does not say how much memory a process has."""
    if device == "cpu" and not anonymous_memory():
        raise UserError(f"{STATUS} does not say RssAnon, so memory cannot be measured here; type --no-memory.")


def in_a_process_of_its_own(size: str, dtype: str, peer: str, state: str, name: str, device: str) -> Peak:
    """Peak of the first call of one peer on the audio of that name; a process that dies is reported, not raised."""
    command = [sys.executable, "-m", "tests.benchmarks.encoder_memory", "--size", size, "--dtype", dtype]
    command += ["--peer", peer, "--state", state, "--audio", name, "--device", device]
    ended = subprocess.run(command, cwd=common.REPOSITORY, capture_output=True, text=True, check=False)
    if ended.returncode < 0:
        return Peak(failure=f"killed by signal {-ended.returncode}")
    if ended.returncode:
        return Peak(failure=(ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1])
    return Peak(**json.loads(ended.stdout))


def measure(peer: Peer, options: argparse.Namespace) -> Peak:
    """The peak of this process's first call."""
    peer.put_in_state()
    parts = peer.prepared(audio(options.audio).largest_part().parts)
    device = torch.device(options.device)
    let_go()
    try:
        return on_gpu(peer, parts, device) if device.type == "cuda" else on_cpu(peer, parts)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Peak(failure="out of memory")


def on_cpu(peer: Peer, parts: list[list[torch.Tensor]]) -> Peak:
    most = int(LARGEST_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with Watch() as watch:
        seconds, _ = common.timed(lambda: peer.compute(parts))
    return Peak(watch.before, watch.peak, seconds)


def on_gpu(peer: Peer, parts: list[list[torch.Tensor]], device: torch.device) -> Peak:
    def compute() -> None:
        peer.compute(parts)
        synchronize(device)

    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    seconds, _ = common.timed(compute)
    return Peak(before, torch.cuda.max_memory_allocated(device), seconds)


if __name__ == "__main__":
    common.carry_out(main)
