"""Fuzzes both importers with mutated model files.

    python benchmarks/fuzz_importers.py [--count 100000] [--seed 0] [--shared ../shared/data] [--processes 2] [--keep fuzz-findings]

Seeds are the small third-party models of the shared data (those up to --largest bytes) and models made here. Each mutant is loaded in a
process with a limit on memory; one in --lower-every that still loads is also lowered to C, into memory, and its text is searched for pieces
of the model's names that escaped. A finding is: an exception that is not an EdgecompressError, more than 10 s, or hostile text in code.
Findings are written into --keep with the mutant, so that they can be repeated. The mutants depend only on --seed, --count and the seed files.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import random
import resource
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

LIMIT_SECONDS, LIMIT_BYTES = 10, 6 * 1024**3
INTERESTING = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4, 2**30)
HOSTILE = ('*/ system("x"); /*', "a\nb", '"; int x = 1; //', "../../etc/passwd", "/absolute", "\\", "%s%n", "x" * 300, "\u202e",
           "\x00", "int", "#define A")
MARKER = "HOSTILE_marker"


def mutate(data: bytes, generator: random.Random, others: list[bytes]) -> bytes:
    """A few random changes, from single bits to spliced files."""
    mutant = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 3, 6, 20))):
        if len(mutant) < 8:
            break
        way, at = generator.randrange(9), generator.randrange(len(mutant))
        if way == 0:
            mutant[at] ^= 1 << generator.randrange(8)
        elif way == 1:
            mutant[at] = generator.randrange(256)
        elif way in (2, 3):  # a field of a flatbuffer or a varint's neighbourhood
            at = at // 4 * 4
            mutant[at: at + 4] = struct.pack("<I", generator.choice(INTERESTING))
        elif way == 4:
            at = at // 4 * 4
            (value,) = struct.unpack("<I", bytes(mutant[at: at + 4]).ljust(4, b"\0"))
            mutant[at: at + 4] = struct.pack("<I", (value + generator.choice((-8, -4, -2, -1, 1, 2, 4, 8))) % 2**32)
        elif way == 5:
            end = len(mutant) if generator.random() < 0.3 else at + generator.randrange(1, 64)
            del mutant[at:end]
        elif way == 6:
            source = generator.randrange(len(mutant))
            length = generator.randrange(1, 64)
            mutant[at: at + length] = mutant[source: source + length]
        elif way == 7:
            other = generator.choice(others)
            start = generator.randrange(len(other))
            mutant[at: at + 64] = other[start: start + generator.randrange(1, 256)]
        else:
            text = (MARKER + generator.choice(HOSTILE)).encode()
            mutant[at: at + len(text)] = text
    return bytes(mutant)


def hostile_names(generator: random.Random) -> tuple[bytes, str]:
    """A small, otherwise valid model whose names are an attack; they must come out harmless."""
    from fuzz_seeds import small_onnx, small_tflite

    name = MARKER + generator.choice(HOSTILE) + generator.choice(HOSTILE)
    return (small_tflite(name), "tflite") if generator.random() < 0.5 else (small_onnx(name), "onnx")


def seeds(shared: Path, largest: int) -> list[tuple[str, bytes]]:
    """(kind, bytes) of the files to start from."""
    from fuzz_seeds import small_onnx, small_tflite

    found = [("tflite", small_tflite("seed")), ("onnx", small_onnx("seed"))]
    for path in sorted([*shared.glob("mlperf_tiny/*.tflite"), *shared.glob("models/*/*.tflite"), *shared.glob("models/onnx/*.onnx")]):
        if path.stat().st_size <= largest:
            found.append((path.suffix[1:], path.read_bytes()))
    return found


def mutants(seed: int, count: int, worker: int, workers: int, pool: list[tuple[str, bytes]]) -> Iterator[tuple[int, str, bytes]]:
    """This worker's share of the mutants, each made from its own number alone."""
    everything = [data for _, data in pool]
    for number in range(worker, count, workers):
        generator = random.Random(f"{seed}:{number}")
        if number % 50 == 0:
            data, kind = hostile_names(generator)
        else:
            kind, original = generator.choice(pool[:2] if generator.random() < 0.4 else pool)
            data = mutate(original, generator, everything)
        yield number, kind, data


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {LIMIT_SECONDS} s")


def try_one(kind: str, data: bytes, lowered: bool) -> str:
    """Outcome in a word; raises what should not come out."""
    from edgecompress.errors import EdgecompressError
    from edgecompress.frontend.onnx import load_onnx
    from edgecompress.frontend.tflite import load_tflite
    from edgecompress.hw.target import load_target
    from edgecompress.ir.graph import QuantizedGraph
    from edgecompress.lower import lower

    try:
        graph = load_tflite(data, "fuzz") if kind == "tflite" else load_onnx(data, "fuzz")
    except EdgecompressError as error:
        if "\n" in error.message:
            raise AssertionError(f"an error of more than one line: {error.message!r}") from None
        return "refused"
    if not lowered or not isinstance(graph, QuantizedGraph) or graph.total_macs > 5e6:
        return "loaded"
    try:
        artifact = lower(graph, load_target("host"))
    except EdgecompressError:
        return "loaded, not lowered"
    check_text(artifact.files)
    return "lowered"


def check_text(files: dict[str, bytes]) -> None:
    """Raises AssertionError if a name of the model shows outside a comment or string, or is not a plain file name."""
    import re

    for name, content in files.items():
        if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
            raise AssertionError(f"file name {name!r}")
        if name.endswith((".c", ".h")):
            code = re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|//[^\n]*', " ", content.decode(), flags=re.DOTALL)
            for attack in (r"\bsystem\b", r"\bint x\b", r"(?m)^#define A\b", r"%s%n", r"\.\./", "\u202e"):
                if found := re.search(attack, code):
                    raise AssertionError(f"{name}: {code[max(found.start() - 40, 0): found.start() + 80]!r}")


def work(arguments: argparse.Namespace, worker: int, results: multiprocessing.Queue[tuple[Counter[str], float, list[str]]]) -> None:
    """One process: its mutants, one after the other."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    signal.signal(signal.SIGALRM, _too_long)
    outcomes: Counter[str] = Counter()
    findings, slowest = [], 0.0
    for number, kind, data in mutants(arguments.seed, arguments.count, worker, arguments.processes, seeds(arguments.shared, arguments.largest)):
        started = time.perf_counter()
        signal.alarm(LIMIT_SECONDS)
        try:
            outcomes[f"{kind} {try_one(kind, data, number % arguments.lower_every == 0)}"] += 1
        except BaseException as error:  # whatever comes out is the finding
            signal.alarm(0)
            if isinstance(error, KeyboardInterrupt):
                raise
            outcomes[f"{kind} FINDING"] += 1
            arguments.keep.mkdir(exist_ok=True)
            path = arguments.keep / f"{hashlib.sha256(data).hexdigest()[:12]}.{kind}"
            path.write_bytes(data)
            where = traceback.extract_tb(error.__traceback__)[-1]
            findings.append(f"{number} {path.name}: {type(error).__name__}: {str(error)[:160]} ({Path(where.filename).name}:{where.lineno})")
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - started)
    results.put((outcomes, slowest, findings))


def main() -> int:
    """Runs all workers and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--largest", type=int, default=80_000)
    parser.add_argument("--lower-every", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    arguments = parser.parse_args()
    started = time.perf_counter()
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[Counter[str], float, list[str]]] = context.Queue()
    workers = [context.Process(target=work, args=(arguments, index, results)) for index in range(arguments.processes)]
    for one in workers:
        one.start()
    outcomes: Counter[str] = Counter()
    findings, slowest = [], 0.0
    for _ in workers:
        counted, slow, found = results.get()
        outcomes += counted
        findings += found
        slowest = max(slowest, slow)
    print(f"{sum(outcomes.values())} files, seed {arguments.seed}, {time.perf_counter() - started:.0f} s, slowest {slowest:.2f} s")
    for outcome, times in sorted(outcomes.items()):
        print(f"  {outcome:28} {times}")
    for line in findings[:40]:
        print("  ", line)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
