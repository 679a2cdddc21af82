"""TFLite files become a QuantizedGraph (int8) or a FloatGraph here; the reader is our own and needs nothing but numpy."""
