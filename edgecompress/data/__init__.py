"""Data sets in, plain arrays out: train, validation and test parts that never mix. No torch here."""
