"""`edgecompress lower`: a model to code for a target."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompress.cli.model_input import add_model, load, samples
from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ConfigError, ExitCode
from edgecompress.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from edgecompress.frontend.float_graph import FloatGraph
    from edgecompress.ir.graph import QuantizedGraph
    from edgecompress.lower.options import LowerOptions

CALIBRATION_SAMPLES, VECTORS = 512, 16
COMPARED_SAMPLES = 16  # at most, on which the int8 model is compared with the float one
POOR_DB = 10.0  # noise of a tenth of the signal's energy
NEEDS = {"bits": "calibrate", "vectors": "data", "weights_section_over": "weights_section"}  # option -> the one it says something about


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("lower", help="turn a model (.tflite, .onnx or a search's graph.json) into C for a device")
    add_model(parser)
    parser.add_argument("--target", default="cortex-m7", help="device name or the path of its TOML file (default: cortex-m7)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an artifact that is there")
    parser.add_argument("--data", help="data set, .npy or .npz whose samples (real values, NHWC) become the test vectors (default: random inputs)")
    parser.add_argument("--vectors", type=int, help=f"number of test vectors with --data (default: {VECTORS})")
    floats = parser.add_argument_group("float models").add_mutually_exclusive_group()
    floats.add_argument("--calibrate", metavar="DATA", help="make the model int8; ranges come from this data set, .npy or .npz (NHWC samples)")
    floats.add_argument("--float", action="store_true", help="keep the model float32, for a core with an FPU")
    parser.add_argument("--bits", type=int, choices=(8, 4, 2), help="bits of a weight with --calibrate (default: 8)")
    memory = parser.add_argument_group("memory")
    memory.add_argument("--io", choices=("caller", "arena"), default="caller",
                        help="where inputs and outputs lie: buffers of the caller (default), or the arena, which shares their bytes and saves RAM")
    memory.add_argument("--ram", help="most bytes of arena and state, such as 64KiB: layers are computed in bands of rows or with less scratch to fit")
    memory.add_argument("--weights-section", default="", metavar="NAME", help="linker section for the constant arrays, such as .ext_flash")
    memory.add_argument("--weights-section-over", metavar="SIZE", help="only arrays of at least this size go there (default: all)")
    memory.add_argument("--arena-section", default="", metavar="NAME", help="linker section for the arena, such as .dtcm")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Loads, lowers, writes."""
    from edgecompress.hw.target import load_target
    from edgecompress.lower import lower

    _check_options(arguments)
    target, options = load_target(arguments.target), _options(arguments)
    graph = _integer_or_float_ops(load(arguments), arguments)
    vectors, source = None, "random"
    if arguments.data is not None:
        if len(graph.inputs) != 1:
            raise ConfigError(f"--data is for models of one input; '{graph.name}' has {len(graph.inputs)}, leave it out")
        tensor = graph.tensors[graph.inputs[0]]
        real, source = samples(arguments.data, tensor.shape, "normalization" in graph.metadata, "validation", arguments.vectors or VECTORS,
                               stream=graph.state_bytes > 0)
        vectors = real if tensor.dtype == "float32" else tensor.quantize(real)
    artifact = lower(graph, target, vectors=vectors, vectors_source=source, options=options)
    artifact.write(arguments.output, overwrite=arguments.overwrite)
    _say(artifact, graph, arguments)
    return ExitCode.DONE


def _check_options(arguments: argparse.Namespace) -> None:
    """Raises ConfigError for an option that would do nothing, or that is out of range."""
    for option, other in NEEDS.items():
        if getattr(arguments, option) is not None and not getattr(arguments, other):
            raise ConfigError(f"--{option.replace('_', '-')} does nothing without --{other.replace('_', '-')}; give both, or leave it out")
    if arguments.vectors is not None and arguments.vectors < 1:
        raise ConfigError(f"--vectors {arguments.vectors} must be at least 1")


def _options(arguments: argparse.Namespace) -> LowerOptions:
    from edgecompress.lower.options import LowerOptions

    return LowerOptions(io=arguments.io, ram_bytes=None if arguments.ram is None else parse_bytes(arguments.ram),
                        weights_section=arguments.weights_section, weights_section_over=parse_bytes(arguments.weights_section_over or 1),
                        arena_section=arguments.arena_section)


def _integer_or_float_ops(graph: QuantizedGraph | FloatGraph, arguments: argparse.Namespace) -> QuantizedGraph:
    """A float model calibrated or kept float, as asked; an integer one as it is."""
    from edgecompress.frontend.float_graph import FloatGraph

    asked = "--calibrate" if arguments.calibrate is not None else "--float" if arguments.float else ""
    if not isinstance(graph, FloatGraph):
        if asked:
            raise ConfigError(f"{asked} is for float models; '{arguments.model.name}' is an integer model already, leave it out")
        return graph
    if arguments.float:
        from edgecompress.frontend.float_lowering import to_float_ops

        return to_float_ops(graph)
    if arguments.calibrate is None:
        raise ConfigError(f"'{arguments.model.name}' is a float model; say how to run it",
                          "--calibrate DATA makes it int8 (smaller and faster), --float keeps it float32 for a core with an FPU")
    from edgecompress.compress.quantize.sqnr import output_sqnr
    from edgecompress.compress.quantize.static import QuantizeConfig, quantize

    x, source = samples(arguments.calibrate, graph.shapes[graph.input], False, "train", CALIBRATION_SAMPLES)
    calibrated = quantize(graph, x, QuantizeConfig(weight_bits=arguments.bits or 8, metadata={**graph.metadata, "calibrated_on": source}))
    decibels = round(output_sqnr(graph, calibrated, x[::-(-len(x) // COMPARED_SAMPLES)]), 1)
    return replace(calibrated, metadata={**calibrated.metadata, "calibration_sqnr_db": decibels})


def _say(artifact: Any, graph: QuantizedGraph, arguments: argparse.Namespace) -> None:
    plan = artifact.plan
    decibels = graph.metadata.get("calibration_sqnr_db") if arguments.calibrate is not None else None
    summary = {"artifact": str(arguments.output), "name": artifact.name, "target": artifact.target, "arena_bytes": plan.memory.arena_bytes,
               "lower_bound_bytes": plan.memory.lower_bound_bytes, "state_bytes": plan.state_bytes, "constant_bytes": plan.constant_bytes,
               "macs": plan.macs, "layers": len(plan.layers), "graph_hash": artifact.graph_hash, "source_hash": artifact.manifest["source_hash"],
               "passes": artifact.manifest["passes"], "fitted": list(plan.fitted), "io": arguments.io, "calibration_sqnr_db": decibels}
    if arguments.format == "json":
        print_json(summary)
        return
    bound = "no plan needs less" if plan.memory.arena_bytes == plan.memory.lower_bound_bytes else \
        f"no plan needs less than {format_bytes(plan.memory.lower_bound_bytes)}"
    print_table(("lowered", artifact.name), [
        ("target", artifact.target), ("arena", f"{format_bytes(plan.memory.arena_bytes)} ({bound})"),
        *([("state", format_bytes(plan.state_bytes))] if plan.state_bytes else []),
        ("constants", format_bytes(plan.constant_bytes)), ("layers, MACs", f"{len(plan.layers)}, {plan.macs}"),
        *([("calibration", _calibration(decibels, graph))] if decibels is not None else []),
        *(("pass", note) for note in artifact.manifest["passes"]), *(("to fit --ram", note) for note in plan.fitted),
        ("folder", str(arguments.output)), ("next", _next_command(arguments))])


def _calibration(decibels: float, graph: QuantizedGraph) -> str:
    """How near the integer model is to the float one, and a word if it is not."""
    text = f"{graph.metadata['calibrated_on']}; outputs {decibels} dB above the noise of quantization"
    if decibels >= POOR_DB:
        return text
    return f"{text}: little of the float model is left, so check its accuracy; try more --bits"


def _next_command(arguments: argparse.Namespace) -> str:
    target = ["--target", arguments.target] if arguments.target.endswith(".toml") else []  # the manifest has its name, which only its path leads to
    return shlex.join(["edgecompress", "bench", str(arguments.output), *target])
