"""`edgecompress inspect`: does a model fit a device, before any board."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgecompress.cli.model_input import add_model, load
from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ConfigError, ExitCode
from edgecompress.units import format_bytes, format_duration, parse_bytes

if TYPE_CHECKING:
    from edgecompress.hw.estimate import Cost
    from edgecompress.hw.target import Target
    from edgecompress.ir.graph import QuantizedGraph
    from edgecompress.lower.inspection import InspectedLayer, Inspection, Refusal

EXTRAPOLATED = 3  # layers that are named
LARGEST = (("time", "seconds"), ("RAM", "ram_bytes"), ("flash", "constant_bytes"))
INT8_VERSION = "int8 version of a float model, not calibrated: memory is exact unless real data reveal dead channels"


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("inspect", help="say whether a model fits a device: RAM, flash, predicted latency and the largest layers")
    add_model(parser)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--target", help="device name or the path of its TOML file")
    choice.add_argument("--all", action="store_true", help="a table over all known devices (the default)")
    parser.add_argument("--layers", type=int, default=5, help="how many of the largest layers to show for one device (default: 5)")
    parser.add_argument("--float", action="store_true", help="take a float model as it is, in float32 (default: its int8 version)")
    parser.add_argument("--io", choices=("caller", "arena"), default="caller", help="where inputs and outputs lie, as in 'lower' (default: caller)")
    parser.add_argument("--ram", help="most bytes of arena and state, as in 'lower': layers are computed in bands of rows or with less scratch to fit")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Loads, plans, prints; exit code 1 if the model does not fit the device, or with --all no device at all."""
    from edgecompress.hw.target import load_target, target_names
    from edgecompress.lower.inspection import Inspector
    from edgecompress.lower.options import LowerOptions

    options = LowerOptions(io=arguments.io, ram_bytes=None if arguments.ram is None else parse_bytes(arguments.ram))
    if arguments.layers < 1:
        raise ConfigError(f"--layers {arguments.layers} must be at least 1")
    targets = [load_target(name) for name in ([arguments.target] if arguments.target else target_names())]
    graph, kind = _load(arguments)
    inspector = Inspector(graph, options)
    if arguments.target:
        found = inspector.inspect(targets[0])
        document = {**_graph_document(graph, kind), **_document(found), "layers": [_layer_document(layer) for layer in found.layers]}
        print_json(document) if arguments.format == "json" else _print_one(found, graph, kind, arguments.layers)
        return ExitCode.ANSWER_IS_NO if found.misses else ExitCode.DONE
    table = inspector.inspect_all(target for target in targets if target.family not in ("host", "linux"))
    if arguments.format == "json":
        print_json({**_graph_document(graph, kind), "targets": [_document(row) for row in table]})
    else:
        _print_all(table, graph, kind)
    return ExitCode.DONE if any(_fits(row) for row in table) else ExitCode.ANSWER_IS_NO


def _load(arguments: argparse.Namespace) -> tuple[QuantizedGraph, str]:
    """The graph and in words what it is: the file's own integers, an int8 version of a float model, or that model in float32."""
    from edgecompress.frontend.float_graph import FloatGraph

    graph = load(arguments)
    if not isinstance(graph, FloatGraph):
        if arguments.float:
            raise ConfigError(f"--float is for float models; '{arguments.model.name}' is an integer model already, leave it out")
        return graph, "integer"
    if arguments.float:
        from edgecompress.frontend.float_lowering import to_float_ops

        return to_float_ops(graph), "float32"
    from edgecompress.compress.quantize.structure import quantize_uncalibrated

    return quantize_uncalibrated(graph), INT8_VERSION


def _fits(row: Inspection | Refusal) -> bool:
    from edgecompress.lower.inspection import Inspection

    return isinstance(row, Inspection) and not row.misses


def _graph_document(graph: QuantizedGraph, kind: str) -> dict[str, Any]:
    return {"model": graph.name, "kind": kind, "parameters": graph.parameters}


def _document(row: Inspection | Refusal) -> dict[str, Any]:
    from edgecompress.lower.inspection import Refusal

    target: Target = row.target
    device = {"target": target.name, "core": target.core, "extensions": list(target.extensions), "clock_hz": target.clock_hz,
              "ram_available_bytes": target.ram_bytes, "flash_available_bytes": target.flash_bytes, "fits": _fits(row)}
    if isinstance(row, Refusal):
        return {**device, "misses": [row.reason]}
    return {**device, "misses": list(row.misses), "ram_bytes": row.ram_bytes, "flash_bytes": row.flash_bytes,
            "fitted": list(row.fitted),
            "exact": {"arena_bytes": row.arena_bytes, "lower_bound_bytes": row.lower_bound_bytes, "scratch_bytes": row.scratch_bytes,
                      "state_bytes": row.state_bytes, "input_output_bytes": row.input_output_bytes, "constant_bytes": row.constant_bytes,
                      "macs": row.macs},
            "predicted": None if row.cost is None else {"latency_s": row.cost.latency_s, "latency_std_s": row.cost.latency_std_s,
                                                        "extrapolated": list(row.cost.extrapolated), "stack_bytes": row.stack_bytes,
                                                        "code_bytes": row.flash_bytes - row.constant_bytes},
            "profile": None if row.profile is None else row.profile.name, "profile_note": row.profile_note}


def _layer_document(layer: InspectedLayer) -> dict[str, Any]:
    return {"node": layer.node, "op": layer.op, "kernel": layer.kernel, "predicted_s": layer.seconds, "ram_bytes": layer.ram_bytes,
            "scratch_bytes": layer.scratch_bytes, "constant_bytes": layer.constant_bytes, "macs": layer.macs}


def _print_one(found: Inspection, graph: QuantizedGraph, kind: str, count: int) -> None:
    target = found.target
    latency = found.profile_note if found.cost is None else f"{_with_margin(found.cost)} predicted ({found.profile_note})"
    print_table(("model", graph.name), [
        ("kind", f"{kind}; {graph.parameters} parameters, {found.macs} MACs, {len(found.layers)} layers"),
        ("device", f"{target.name}: {target.description}"),
        ("fits", "yes" if not found.misses else f"NO: {'; '.join(found.misses)}"),
        ("RAM", f"{format_bytes(found.ram_bytes)} of {format_bytes(target.ram_bytes)}: {', '.join(_ram_parts(found))}"),
        *(("to fit --ram", note) for note in found.fitted),
        ("scratch", f"{format_bytes(found.scratch_bytes)}, part of the arena"),
        ("flash", f"{format_bytes(found.flash_bytes)} of {format_bytes(target.flash_bytes)}: {', '.join(_flash_parts(found))}"),
        ("latency", latency),
        *([] if found.cost is None or not found.cost.extrapolated else
          [("not like the profile's layers", "; ".join(found.cost.extrapolated[:EXTRAPOLATED]) + (
              f"; and {len(found.cost.extrapolated) - EXTRAPOLATED} more" if len(found.cost.extrapolated) > EXTRAPOLATED else ""))]),
    ])
    _say_stale([found])
    for what, attribute in LARGEST:
        if found.layers and getattr(found.layers[0], attribute) is not None:
            print()
            _print_largest(found, what, attribute, count)


def _with_margin(cost: Cost) -> str:
    """A latency with the interval that holds it with a probability of COVERAGE."""
    from edgecompress.hw.uncertainty import COVERAGE

    return f"{format_duration(cost.latency_s)} ± {format_duration(cost.latency_margin_s)} ({100 * COVERAGE:g} %)"


def _ram_parts(found: Inspection) -> list[str]:
    optimal = found.arena_bytes == found.lower_bound_bytes
    bound = "no plan needs less" if optimal else f"no plan needs less than {format_bytes(found.lower_bound_bytes)}"
    parts = [f"arena {format_bytes(found.arena_bytes)} (exact; {bound})"]
    if found.state_bytes:
        parts.append(f"state {format_bytes(found.state_bytes)} (exact)")
    parts.append("stack not predicted" if found.stack_bytes is None else f"stack {format_bytes(found.stack_bytes)} (predicted)")
    if found.input_output_bytes:
        parts.append(f"the caller's input and output {format_bytes(found.input_output_bytes)}")
    return parts


def _flash_parts(found: Inspection) -> list[str]:
    code = "code not predicted" if found.cost is None else f"code {format_bytes(found.flash_bytes - found.constant_bytes)} (predicted)"
    return [f"constants {format_bytes(found.constant_bytes)} (exact)", code]


def _print_largest(found: Inspection, what: str, attribute: str, count: int) -> None:
    layers = sorted(found.layers, key=lambda layer: -getattr(layer, attribute))[:count]
    rows = [(layer.node, layer.op, "" if layer.seconds is None else format_duration(layer.seconds), format_bytes(layer.ram_bytes),
             format_bytes(layer.constant_bytes), layer.macs) for layer in layers]
    print_table((f"largest by {what}", "op", "time (predicted)", "RAM in use", "flash", "MACs"), rows)


def _print_all(table: list[Inspection | Refusal], graph: QuantizedGraph, kind: str) -> None:
    from edgecompress.lower.inspection import Refusal

    rows: list[tuple[object, ...]] = []
    notes: dict[str, list[str]] = {}
    for row in table:
        target = row.target
        device = (target.name, target.core, f"{target.clock_hz / 1e6:g} MHz")
        if isinstance(row, Refusal):
            notes.setdefault(row.reason, []).append(target.name)
            rows.append((*device, "no", "", format_bytes(target.ram_bytes), "", format_bytes(target.flash_bytes), ""))
            continue
        if row.cost is None:
            notes.setdefault(f"+ code, stack and latency not included: {row.profile_note}", []).append(target.name)
        elif target.flash_timing is not None and row.profile is not None and row.profile.target != target.name:
            notes.setdefault("latency without the chip's flash waits, which 'edgecompress bench' estimates", []).append(target.name)
        more, latency = ("+", "") if row.cost is None else ("", format_duration(row.cost.latency_s))
        rows.append((*device, "no" if row.misses else "yes", format_bytes(row.ram_bytes) + more, format_bytes(target.ram_bytes),
                     format_bytes(row.flash_bytes) + more, format_bytes(target.flash_bytes), latency))
    print(f"{graph.name} ({kind}; {graph.parameters} parameters) fits {sum(_fits(row) for row in table)} of {len(table)} devices; "
          "RAM is that for arena, state, stack, input and output")
    print_table(("device", "core", "clock", "fits", "RAM needed", "RAM", "flash needed", "flash", "latency (predicted)"), rows)
    for note, names in notes.items():
        print(f"{note} ({', '.join(names)})")
    _say_stale(table)


def _say_stale(rows: Sequence[Inspection | Refusal]) -> None:
    """Names the profiles that predict from other kernels than this version's."""
    from edgecompress.bench.profiling import kernel_version
    from edgecompress.hw.target import load_target
    from edgecompress.lower.inspection import Inspection

    used = {row.profile.name: row.profile for row in rows if isinstance(row, Inspection) and row.profile is not None}
    stale = sorted(name for name, profile in used.items() if profile.kernel_version != kernel_version(load_target(profile.target)))
    if stale:
        print(f"note: made with other kernels than this version's, so code and latency may be off: {', '.join(stale)}")
