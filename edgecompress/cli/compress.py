"""`edgecompress compress`: a given model, made smaller for a device."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompress.cli.output import add_format, print_json, print_table
from edgecompress.errors import ConfigError, ExitCode
from edgecompress.units import format_bytes, format_duration

if TYPE_CHECKING:
    from edgecompress.run.compress import CompressOutcome, Figures


def register(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("compress", help="make your own model smaller: prune, recover, quantize, lower")
    parser.add_argument("--model", required=True, help="package.module:factory, a float .onnx file, RUN/candidates/ID of a search, or a folder of 'compress'")
    parser.add_argument("--data", required=True, help="data set: a name, a folder by class, or an .npz file (see 'edgecompress data list')")
    parser.add_argument("--target", default="cortex-m7", help="device name or the path of its TOML file (default: cortex-m7)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that 'compress' wrote")
    amount = parser.add_argument_group("what goes (one of)")
    amount.add_argument("--ratio", help="share of the channels, such as 0.5, or one a group: stem=0.25,body=0.5 (groups have the name of their first layer)")
    amount.add_argument("--auto", action="store_true", help="as much as --max-drop allows, largest groups first")
    amount.add_argument("--masks", type=Path, help="masks of an NNI pruner, written with torch.save(masks, FILE)")
    how = parser.add_argument_group("how")
    how.add_argument("--max-drop", type=float, help="percentage points of validation accuracy that --auto may lose before fine-tuning (default: 1)")
    how.add_argument("--prune", dest="method", help="uniform (each group loses the ratio, the default), global (ranked over all groups), "
                                                    "nni-l1, nni-l2 or nni-fpgm (needs the extra [nni])")
    how.add_argument("--importance", default="", help="what makes a channel worth keeping: l1, l2, taylor, fpgm, bn_scale, lamp, activation or elimination "
                                                      "(default: elimination where weights are solved for, else taylor)")
    how.add_argument("--schedule", default="one-shot", help="one-shot (default) or agp: little by little during the fine-tuning")
    how.add_argument("--recover", default="",
                     help="closed-form (least squares, no training), finetune, both or none (default: both; closed-form with --classes)")
    how.add_argument("--epochs", type=int, default=0, help="epochs of fine-tuning (default: by the data's recipe)")
    how.add_argument("--classes", default="", help="derive a model for these classes only: numbers or names, such as 3,5,7")
    how.add_argument("--weights", type=Path, help="state dictionary for the model, written with torch.save(module.state_dict(), FILE)")
    how.add_argument("--train", action="store_true", help="train the model first, by the data's recipe")
    how.add_argument("--seed", type=int, default=0, help="one number that decides every random choice (default: 0)")
    add_format(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Compresses and prints before and after."""
    from edgecompress.run.compress import CompressConfig, compress

    if arguments.max_drop is not None and not arguments.auto:
        raise ConfigError("--max-drop does nothing without --auto; give both, or leave it out")
    if arguments.method is not None and arguments.ratio is None:
        raise ConfigError("--prune does nothing without --ratio; give both, or leave it out")
    config = CompressConfig(
        arguments.model, arguments.data, arguments.target, arguments.method or "uniform", None if arguments.ratio is None else _ratios(arguments.ratio),
        arguments.auto, 1.0 if arguments.max_drop is None else arguments.max_drop, arguments.masks, arguments.importance, arguments.schedule,
        arguments.epochs, arguments.recover, arguments.classes, arguments.weights, arguments.train, arguments.seed)
    outcome = compress(config, arguments.output, arguments.overwrite, lambda text: print(text, file=sys.stderr))
    if arguments.format == "json":
        print_json({**outcome.document, "output": str(arguments.output), "fits": outcome.fits})
    else:
        _table(outcome, arguments)
    return ExitCode.DONE if outcome.fits else ExitCode.ANSWER_IS_NO


def _ratios(text: str) -> float | dict[str, float]:
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.rpartition("=") for part in text.split(",")]
        ratios = {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        raise ConfigError(f"--ratio '{text[:80]}' must be a number such as 0.5, or group=number pairs with commas between, such as "
                          "stem=0.25,body=0.5") from None
    if len(ratios) != len(pairs):
        raise ConfigError(f"--ratio '{text[:80]}' names a group twice")
    return ratios


def _table(outcome: CompressOutcome, arguments: argparse.Namespace) -> None:
    before, after, document = outcome.before, outcome.after, outcome.document
    rows = [(name, show(before), show(after), change(before, after)) for name, show, change in _ROWS]
    print_table(("", "before", "after", "change"), rows)
    notes = [("classes", ", ".join(document["classes"]))] if arguments.classes else []
    if "masked" in document:
        notes.append(("masks", f"{document['removed']} of {document['masked']} masked channels are gone, {document['stayed']} had to stay"))
    if "evaluations" in document:
        chosen, held = document["policy_accuracy"], document["policy_held_out"]
        notes.append(("policy", f"{document['evaluations']} evaluations; {_percent(chosen[0])} to {_percent(chosen[1])} on the samples that chose, "
                                f"{_percent(held[0])} to {_percent(held[1])} on {document['policy_samples'][1]} others, before fine-tuning"))
    notes += [("latency", document["prediction"]), ("test part", f"{document['test_samples']} samples, read once, in the end")]
    if document["onnx_note"]:
        notes.append(("no model.onnx", document["onnx_note"]))
    notes += [("does not fit", text) for text in document["misses"]]
    target = ["--target", arguments.target] if arguments.target.endswith(".toml") else []
    notes += [("folder", str(arguments.output)), ("next", shlex.join(["edgecompress", "bench", str(arguments.output / "artifact"), *target]))]
    print_table(("note", ""), notes)


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _share(name: str) -> Any:
    def change(before: Figures, after: Figures) -> str:
        first, second = getattr(before, name), getattr(after, name)
        return "" if not first or second is None else f"{100 * (second - first) / first:+.1f} %"

    return change


def _points(name: str) -> Any:
    return lambda before, after: f"{100 * (getattr(after, name) - getattr(before, name)):+.2f} pp"


def _show(name: str, text: Any) -> Any:
    return lambda figures: "not predicted" if getattr(figures, name) is None else text(getattr(figures, name))


_ROWS = [
    ("channels", _show("channels", str), _share("channels")),
    ("parameters", _show("parameters", str), _share("parameters")),
    ("MACs", _show("macs", str), _share("macs")),
    ("validation, float", _show("validation_float", _percent), _points("validation_float")),
    ("validation, int8", _show("validation_int8", _percent), _points("validation_int8")),
    ("test, float", _show("test_float", _percent), _points("test_float")),
    ("test, int8", _show("test_int8", _percent), _points("test_int8")),
    ("latency, predicted", _show("latency_s", format_duration), _share("latency_s")),
    ("RAM, predicted", _show("ram_bytes", format_bytes), _share("ram_bytes")),
    ("flash, predicted", _show("flash_bytes", format_bytes), _share("flash_bytes")),
]
