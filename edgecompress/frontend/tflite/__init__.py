"""TFLite files become a QuantizedGraph (int8) or a FloatGraph here; the reader is our own and needs nothing but numpy."""

from edgecompress.frontend.tflite.importer import load_tflite
from edgecompress.frontend.tflite.operators import OPERATORS, Support

__all__ = ["OPERATORS", "Support", "load_tflite"]
