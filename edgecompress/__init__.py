"""edgecompress: models searched, compressed and lowered for one device, with a proof that the bytes agree."""

__version__ = "0.1.0"
