from contextlib import contextmanager
from edgecompress.search.evaluator import local_evaluator

@contextmanager
def make_evaluator(context, *, workers, folder, identity, storage="", study="", ray="", objectives=None, say=lambda text: None):
    with local_evaluator(context, workers) as evaluator:
        yield evaluator
