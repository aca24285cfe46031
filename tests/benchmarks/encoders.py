"""WavLM here against its peers: transformers, torchaudio, and Microsoft's model as s3prl ships it.

All have the same weights (untrained, seed 0), hear the same noise, and return the hidden states of all layers. They
take turns in one process, and a ratio is the median over turns of a peer's seconds by ours of the same turn. A peer
whose last state is not ours in float32 is not timed.

In a mix of lengths all compute the same batches, sorted by length as extraction makes them; the others fill each up to
its longest utterance. Two more rows say what that costs us: the same utterances one at a time, and batches of as many
utterances and samples whose utterances are all as long as their mean.

Beside each measurement stands the floor: the least seconds that its operations or bytes can take at the rates that the
machine reaches in a large product and a large copy. Memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.out_of_memory import is_out_of_memory

from . import common, encoder_peers, roofline
from .encoder_breakdown import COMPONENTS, OUR_NAMES, TRANSFORMERS_NAMES, breakdown
from .encoder_memory import LARGEST_SHARE, Peak, in_a_process_of_its_own, refuse_unless_measurable
from .encoder_peers import AS_LOADED, DTYPES, DURATIONS, OTHERS, OURS, SIZES, Audio, Peer
from .roofline import Floor, Machine
from .s3prl_loop import synchronize

SMALL = {
    "sizes": ["tiny"],
    "batches": encoder_peers.SMALL,
    "breakdown": encoder_peers.SMALL[:1],
    "repeats": 1,
    "long": 2.0,
    "memory": False,
}
MB = 1e6
ALONE, EQUAL = "one at a time", "equal lengths"
WORDS = ("size", "dtype", "batch", "peer", "state", "component", "bound by")  # columns that hold words


@dataclass(frozen=True)
class Case:
    """A model's size and precision, and the name of what it is given."""

    size: str
    dtype: str
    batch: str


@dataclass(frozen=True)
class Way:
    """One of the ways that take turns; parts: what the peer is given, batch by batch."""

    peer: Peer
    state: str
    parts: list[list[Tensor]]


@dataclass(frozen=True)
class Row:
    """Seconds of each turn of one way; none where memory ran out. ours: those of ours in the same turns."""

    case: Case
    peer: str
    state: str
    audio_seconds: float
    floor: Floor
    turns: list[float]
    ours: list[float]

    @property
    def seconds(self) -> float:
        return statistics.median(self.turns)

    @property
    def ratio(self) -> float:
        """This way's seconds by ours."""
        return statistics.median(theirs / ours for theirs, ours in zip(self.turns, self.ours, strict=True))


@dataclass
class Findings:
    """All that was measured.

    distances: size, dtype, peer, state, and the relative error of its last state against ours in float32.
    components: median seconds of each, of ours and, where it was measured, of transformers.
    """

    rows: list[Row] = field(default_factory=list)
    distances: list[tuple[str, str, str, str, float]] = field(default_factory=list)
    components: dict[Case, list[Mapping[str, float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def main() -> None:
    options = common.parse(command_line(), SMALL)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch finds no GPU here; type --device cpu.")
    if options.memory:
        refuse_unless_measurable(options.device)
    warnings.filterwarnings("ignore", module="torch.nn")  # the peers use what PyTorch has deprecated
    common.say("the machine's rates")
    machines = {dtype: roofline.measure(device, DTYPES[dtype]) for dtype in options.dtypes}
    findings = Findings()
    for size, dtype in itertools.product(options.sizes, options.dtypes):
        compare(size, dtype, machines[dtype], options, findings)
        encoder_peers.let_go()
    peaks = peaks_of(findings.rows, options) if options.memory else {}
    report(findings, peaks, machines, options)


def command_line() -> argparse.ArgumentParser:
    made = common.parser(__doc__)
    made.add_argument("--sizes", nargs="+", default=["base"], choices=SIZES, help="of the model")
    made.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES, help="precisions")
    made.add_argument("--batches", nargs="+", default=encoder_peers.STANDARD, choices=DURATIONS, help="what is encoded")
    made.add_argument("--peers", nargs="*", default=list(OTHERS), choices=OTHERS, help="beside ours")
    made.add_argument("--repeats", type=int, default=5, help="turns, after one that warms up; medians are shown")
    made.add_argument("--device", default="cpu", help="cpu or cuda")
    made.add_argument(
        "--breakdown", nargs="*", default=["8 x 5 s"], choices=DURATIONS, help="batches whose time is taken apart"
    )
    made.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure memory, too")
    made.add_argument("--long", type=float, default=600.0, help="seconds of one more utterance, for memory")
    made.add_argument("--markdown", action="store_true", help="print the tables of times as Markdown")
    return made


# ---------------------------------------------------------------- measuring


def compare(size: str, dtype: str, machine: Machine, options: argparse.Namespace, findings: Findings) -> None:
    """All peers of one size in one precision."""
    common.say(f"{size}, {dtype}: building")
    reference = encoder_peers.load_ours(size)
    peers, notes = encoder_peers.build(size, options.device, dtype, options.peers)
    findings.notes += notes
    for peer, distance in zip(peers, encoder_peers.errors(peers, reference), strict=True):
        findings.distances.append((size, dtype, peer.name, peer.state, distance))
    for name in options.batches:
        case = Case(size, dtype, name)
        encoded = encoder_peers.audio(name)
        floor = roofline.floor(reference.config, encoded.parts, DTYPES[dtype], machine)
        findings.rows += measure(case, peers, encoded, floor, options)
    for name in options.breakdown:
        findings.components[Case(size, dtype, name)] = taken_apart(peers, encoder_peers.audio(name), options)


def measure(case: Case, peers: Sequence[Peer], encoded: Audio, floor: Floor, options: argparse.Namespace) -> list[Row]:
    """The peers in turns on the same audio, ours first."""
    common.say(f"{case.size}, {case.dtype}, {case.batch}")
    ways = [Way(peer, peer.state, peer.prepared(encoded.parts)) for peer in peers]
    if encoded.is_mix:
        ours = peers[0]
        ways.append(Way(ours, ALONE, ours.prepared(encoded.each_alone().parts)))
        ways.append(Way(ours, EQUAL, ours.prepared(encoded.of_equal_lengths().parts)))
    turns = in_turns(ways, options.repeats, torch.device(options.device))
    if not turns[0]:
        raise UserError(f"{case.batch} does not fit into memory here; choose other --batches.")
    return [
        Row(case, way.peer.name, way.state, encoded.seconds, floor, own, turns[0] if own else [])
        for way, own in zip(ways, turns, strict=True)
    ]


def in_turns(ways: Sequence[Way], repeats: int, device: torch.device) -> list[list[float]]:
    """Seconds of each way in each turn, after a turn that warms up; none of a way that memory does not suffice for."""
    seconds: list[list[float]] = [[] for _ in ways]
    fitting = [complete(way, device) is not None for way in ways]
    for _ in range(repeats):
        for index, way in enumerate(ways):
            took = complete(way, device) if fitting[index] else None
            fitting[index] = took is not None
            seconds[index].append(took or 0.0)
    return [own if fits else [] for own, fits in zip(seconds, fitting, strict=True)]


def complete(way: Way, device: torch.device) -> float | None:
    """Seconds until all states are there, or None if memory ran out."""
    way.peer.put_in_state()
    synchronize(device)

    def compute() -> None:
        way.peer.compute(way.parts)
        synchronize(device)

    try:
        return common.timed(compute)[0]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    encoder_peers.let_go()
    return None


def taken_apart(peers: Sequence[Peer], encoded: Audio, options: argparse.Namespace) -> list[Mapping[str, float]]:
    """Seconds of each component of ours, and of transformers as it is loaded, its faster state."""
    common.say(f"taking {encoded.name} apart")
    device = torch.device(options.device)
    names = [(peers[0], OUR_NAMES)]
    names += [(p, TRANSFORMERS_NAMES) for p in peers if (p.name, p.state) == ("transformers", AS_LOADED)]
    return [
        breakdown(peer, peer.prepared(encoded.parts), own_names, device, options.repeats) for peer, own_names in names
    ]


def peaks_of(rows: Sequence[Row], options: argparse.Namespace) -> dict[tuple[Case, str, str], Peak]:
    """The peak of every peer on everything it was timed on, and on one long utterance."""
    measured = [(row.case, row.peer, row.state) for row in rows if row.state not in (ALONE, EQUAL)]
    long = f"1 x {options.long:g} s"
    on_long = [(Case(case.size, case.dtype, long), peer, state) for case, peer, state in measured]
    peaks = {}
    for case, peer, state in dict.fromkeys([*measured, *on_long]):
        common.say(f"memory: {case.size}, {case.dtype}, {case.batch}, {peer}, {state}")
        peaks[case, peer, state] = in_a_process_of_its_own(
            case.size, case.dtype, peer, state, case.batch, options.device
        )
    return peaks


# ---------------------------------------------------------------- tables


def report(
    findings: Findings,
    peaks: Mapping[tuple[Case, str, str], Peak],
    machines: Mapping[str, Machine],
    options: argparse.Namespace,
) -> None:
    show = partial(common.show, device=torch.device(options.device), left=WORDS)
    show("the least that the work can take", *floors(findings.rows), [m.describe(d) for d, m in machines.items()])
    show("relative error of the last state against ours in float32", *distances(findings))
    for case, components in findings.components.items():
        title = f"WavLM {case.size}, {case.dtype}, {case.batch}: components"
        show(title, *by_component(case, components, machines[case.dtype]))
    if peaks:
        show("peak memory, MB", *memory(peaks), notes_on_memory(options))
    for size in options.sizes:
        rows = [row for row in findings.rows if row.case.size == size]
        title, (headings, cells) = f"WavLM {size}: hidden states of all layers", times(rows, peaks)
        notes = notes_on_times(rows, findings.notes, options)
        if options.markdown:
            print("\n".join(["", title, "", *markdown(headings, cells), "", *(f"- {note}" for note in notes)]))
        else:
            show(title, headings, cells, notes)


Table = tuple[Sequence[str], list[list[str]]]


def times(rows: Sequence[Row], peaks: Mapping[tuple[Case, str, str], Peak]) -> Table:
    """The main table."""
    cells = []
    for row in rows:
        peak = peaks.get((row.case, row.peer, row.state))
        start = [row.case.dtype, row.case.batch, row.peer, row.state]
        numbers = ["out of memory", "", "", "", ""]
        if row.turns:
            numbers = [
                f"{row.seconds:.3f}",
                f"{row.audio_seconds / row.seconds:,.1f}",
                f"{row.ratio:.2f}",
                f"{1000 * row.floor.seconds:,.1f}",
                f"{row.floor.seconds / row.seconds:.0%}",
            ]
        cells.append([*start, *numbers, "" if peak is None else peak.failure or f"{peak.peak / MB:,.0f}"])
    return ("dtype", "batch", "peer", "state", "s", "audio s/s", "ratio", "floor ms", "of floor", "peak MB"), cells


def floors(rows: Sequence[Row]) -> Table:
    cells = []
    for case, floor in {row.case: row.floor for row in rows}.items():
        numbers = [f"{floor.operations / 1e9:,.1f}", f"{floor.nbytes / 1e9:.2f}", f"{1000 * floor.seconds:,.2f}"]
        cells.append([case.size, case.dtype, case.batch, *numbers, floor.bound])
    return ("size", "dtype", "batch", "GF", "GB", "floor ms", "bound by"), cells


def distances(findings: Findings) -> Table:
    cells = [[*words, f"{distance:.1e}"] for *words, distance in findings.distances]
    return ("size", "dtype", "peer", "state", "error"), cells


def by_component(case: Case, measured: Sequence[Mapping[str, float]], machine: Machine) -> Table:
    """Milliseconds and shares; the floor is that of the component's operations alone."""
    headings = ["component", "floor ms"]
    for name in (OURS, "transformers")[: len(measured)]:
        headings += [f"{name} ms", "%"]
    parts = encoder_peers.audio(case.batch).parts
    config = encoder_peers.load_ours(case.size).config
    work = [roofline.operations(config, len(waveform)) for part in parts for waveform in part]
    cells = []
    for component in (*COMPONENTS, "total"):
        own_work = sum(sum(one.values()) if component == "total" else one.get(component, 0.0) for one in work)
        row = [component, f"{1000 * own_work / machine.rate:.1f}" if own_work else ""]
        for seconds in measured:
            total = sum(seconds.values())
            own = seconds.get(component, total)
            row += [f"{1000 * own:.1f}", f"{own / total:.0%}"]
        cells.append(row)
    return headings, cells


def memory(peaks: Mapping[tuple[Case, str, str], Peak]) -> Table:
    cells = []
    for (case, peer, state), peak in peaks.items():
        numbers = [peak.failure, "", "", ""]
        if not peak.failure:
            call = peak.peak - peak.before
            numbers = [*(f"{value / MB:,.0f}" for value in (peak.peak, peak.before, call)), f"{peak.seconds:.2f}"]
        cells.append([case.size, case.dtype, case.batch, peer, state, *numbers])
    return ("size", "dtype", "batch", "peer", "state", "peak", "before", "of the call", "s"), cells


def mixes(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows of each case that has a mix of lengths."""
    for _, own in itertools.groupby(rows, key=lambda row: row.case):
        found = list(own)
        if any(row.state == EQUAL for row in found):
            yield found


def cost_of_padding(rows: Sequence[Row]) -> str:
    """How much longer the mix takes us than the same audio where there is nothing to pad."""
    case = rows[0].case
    encoded = encoder_peers.audio(case.batch)
    against = {row.state: 1.0 / row.ratio - 1.0 for row in rows if row.turns and row.state in (ALONE, EQUAL)}
    costs = ", ".join(f"{cost:+.1%} against {state}" for state, cost in against.items())
    return (
        f"What a mix of lengths costs ours ({case.size}, {case.dtype}, {case.batch}): {costs}. "
        f"Filled up, the batches are {encoded.padded_seconds / encoded.seconds - 1.0:.1%} longer."
    )


def notes_on_times(rows: Sequence[Row], about_peers: Sequence[str], options: argparse.Namespace) -> list[str]:
    notes = [
        f"Turns: {options.repeats}, after one that warms up; s is the median, and so is ratio, of a peer's seconds by "
        "ours of the same turn. Everything was measured.",
        "Audio seconds are the utterances' own, without padding, and so is the work under the floor. The noise is in "
        "memory, on the device; ours standardises it within the time where the model asks for it, the others get it "
        "standardised and in their precision.",
        "As loaded: the weights require gradients, as from_pretrained leaves them, though none are computed.",
        *(cost_of_padding(own) for own in mixes(rows)),
        *dict.fromkeys(about_peers),
    ]
    if options.device == "cuda":
        notes.append(
            f"Products of float32 matrices run at PyTorch's precision {torch.get_float32_matmul_precision()!r}, "
            f"convolutions {'with' if torch.backends.cudnn.allow_tf32 else 'without'} TF32."
        )
    return notes


def notes_on_memory(options: argparse.Namespace) -> list[str]:
    kind = "what PyTorch allocated on the GPU" if options.device == "cuda" else "anonymous memory"
    notes = [
        f"Measured once each, in a process of its own: {kind} at the peak of the first call, before it with the model "
        "in memory, and the difference. s is that one cold call. Of a mix: the batch with the most padded samples.",
    ]
    if options.device != "cuda":
        notes.append(f"Out of memory: more than {LARGEST_SHARE:.0%} of the machine's was asked for.")
    return notes


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    ruler = ["---" if heading in WORDS else "---:" for heading in headings]
    return [f"| {' | '.join(cells)} |" for cells in (headings, ruler, *rows)]


if __name__ == "__main__":
    common.carry_out(main)
