"""Models from elsewhere become a FloatGraph (torch) here. Importing this package does not import torch."""
