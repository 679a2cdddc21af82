"""C source of the table that tells the harness how to call each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecompress.bench.machines import Machine
from edgecompress.bench.subject import Subject, TensorShape


@dataclass(frozen=True)
class _Entry:
    """Declarations, and the members of `struct bench_model`."""

    code: list[str]
    run: str
    load: str = "0"
    store: str = "0"


def model_table(subjects: Sequence[Subject], machine: Machine | None, count_layers: bool = False, timer: bool = True) -> str:
    """`machine=None` leaves the timer out (host); `count_layers` adds room for a reading of it after each layer of the only model, without a
    machine the numbers of layers of all models. Without `timer` it is another file's."""
    entries = [_arena_entry(subject) if subject.io == "arena" else _caller_entry(subject) for subject in subjects]
    lines = ["/* Generated for one firmware. */", '#include "bench_harness.h"', "", *(line for entry in entries for line in entry.code)]
    lines += [f"void {subject.name}_reset(void);" for subject in subjects if subject.state_bytes]
    lines += ["", "const struct bench_model bench_models[] = {"]
    for subject, entry in zip(subjects, entries, strict=True):
        reset = f"{subject.name}_reset" if subject.state_bytes else "0"
        lines.append(f"    {{{entry.run}, {reset}, {entry.load}, {entry.store}, {subject.input_bytes}u, {subject.output_bytes}u}},")
    lines += ["};", f"const uint32_t bench_model_count = {len(subjects)}u;"]
    for buffer, size in (("input", max(s.input_bytes for s in subjects)), ("output", max(s.output_bytes for s in subjects))):
        lines.append(f"int8_t bench_{buffer}[{size}] __attribute__((aligned(16)));")
    if machine is not None and timer:
        board = machine.timer
        registers = ", ".join(f"(volatile uint32_t *)0x{address:08x}u" for address in (board.control, board.reload, board.value))
        lines.append(f"const struct bench_timer bench_timer = {{{registers}, 0x{board.enable:x}u, 0x{board.mask:x}u}};")
    if count_layers and machine is None:
        lines.append(f"const uint32_t bench_layer_counts[] = {{{', '.join(f'{len(subject.layers)}u' for subject in subjects)}}};")
    elif count_layers:
        count = len(subjects[0].layers)
        lines += [f"const uint32_t bench_layer_count = {count}u;", f"uint32_t bench_layer_values[{max(count, 1)}];"]
    return "\n".join(lines) + "\n"


def _parts(tensors: Sequence[TensorShape]) -> list[tuple[int, TensorShape]]:
    """Where each tensor lies in a frame."""
    starts = [0]
    for tensor in tensors:
        starts.append(starts[-1] + tensor.size)
    return list(zip(starts, tensors, strict=False))


def _ctype(tensor: TensorShape) -> str:
    return {"int8": "int8_t", "float32": "float"}[tensor.dtype]


def _cast(tensor: TensorShape, pointer: str, constant: bool) -> str:
    """A place in a frame as a pointer to the tensor's type; frames of floats are aligned, as all their parts have whole words."""
    if tensor.dtype == "int8":
        return pointer
    qualifier = "const " if constant else ""
    return f"({qualifier}{_ctype(tensor)} *)({qualifier}void *)({pointer})"


def _caller_entry(subject: Subject) -> _Entry:
    """The run function itself, or an adapter when it has several inputs or outputs."""
    run = f"{subject.name}_run"
    tensors = (*subject.inputs, *subject.outputs)
    if len(subject.inputs) == len(subject.outputs) == 1 and not any(tensor.dtype != "int8" for tensor in tensors):
        return _Entry([f"int {run}(const int8_t *input, int8_t *output);"], run)
    kinds = ", ".join([f"const {_ctype(tensor)} *" for tensor in subject.inputs] + [f"{_ctype(tensor)} *" for tensor in subject.outputs])
    arguments = [_cast(tensor, f"{base} + {start}", base == "input") for base, parts in (("input", subject.inputs), ("output", subject.outputs))
                 for start, tensor in _parts(parts)]
    adapter = f"bench_adapter_{subject.name}"
    return _Entry([f"int {run}({kinds});",
                   f"static int {adapter}(const int8_t *input, int8_t *output) {{ return {run}({', '.join(arguments)}); }}"], adapter)


def _arena_entry(subject: Subject) -> _Entry:
    """Inputs and outputs are copied into and out of the arena by functions of their own, so that no copy is counted as the model's."""
    name = subject.name
    declared, loads, stores = [f"int {name}_run(void);"], [], []
    for kind, tensors in (("input", subject.inputs), ("output", subject.outputs)):
        for index, (start, tensor) in enumerate(_parts(tensors)):
            place = f"{name}_{kind}{index if len(tensors) > 1 else ''}"
            declared.append(f"{'const ' if kind == 'output' else ''}{_ctype(tensor)} *{place}(void);")
            if kind == "input":
                loads.append(f"bench_copy((int8_t *){place}(), frame + {start}, {tensor.size}u);")
            else:
                stores.append(f"bench_copy(frame + {start}, (const int8_t *){place}(), {tensor.size}u);")
    run, load, store = (f"bench_{what}_{name}" for what in ("adapter", "load", "store"))
    return _Entry([*declared,
                   f"static int {run}(const int8_t *input, int8_t *output) {{ (void)input; (void)output; return {name}_run(); }}",
                   f"static void {load}(const int8_t *frame) {{ {' '.join(loads)} }}",
                   f"static void {store}(int8_t *frame) {{ {' '.join(stores)} }}"], run, load, store)
