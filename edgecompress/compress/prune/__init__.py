"""Pruning: physically smaller networks."""
