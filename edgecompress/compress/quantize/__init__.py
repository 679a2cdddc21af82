"""Static post-training quantization: float graph and calibration data in, QuantizedGraph out."""
