"""Devices: what they are (targets), what was seen on them (profiles), what a model costs there. No torch here."""
