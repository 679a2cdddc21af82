"""Making a trained model smaller: prune, fine-tune, quantize. Importing this package does not import torch."""
