"""Which evaluator a search gets: this machine's processes, a Ray cluster, and either of them shared with other machines through a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecompress.search.evaluator import Evaluator, local_evaluator

if TYPE_CHECKING:
    from edgecompress.search.shared_table import Display


@contextmanager
def make_evaluator(context: Any, *, workers: int, folder: Path, identity: Mapping[str, str], storage: str = "", study: str = "", ray: str = "",
                   display: Display | None = None, say: Callable[[str], None] = lambda text: None) -> Iterator[Evaluator]:
    """The evaluator that the settings ask for.

    `workers` processes work on this machine; with `ray`, an address, the cluster works instead, on all its CPUs. `storage` is a database's URL,
    `study` a name there ("": from `identity`, what must be equal on all machines), `folder` this machine's own place for what could not be
    written. Raises ConfigError, ToolMissingError or DeviceError.
    """
    with ExitStack() as stack:
        inner: Evaluator
        if ray:
            from edgecompress.search.ray_evaluator import ray_evaluator

            cluster = stack.enter_context(ray_evaluator(context, ray, workers))
            inner, workers = cluster, cluster.workers
        else:
            inner = stack.enter_context(local_evaluator(context, workers))
        if storage:
            from edgecompress.search.shared import SharedEvaluator
            from edgecompress.search.shared_table import NO_DISPLAY

            inner = stack.enter_context(SharedEvaluator(inner, storage, study, identity, workers, folder, display or NO_DISPLAY, say=say))
        yield inner
