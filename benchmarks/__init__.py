"""Measurements of speed and memory against other implementations: `python -m benchmarks`.

They are not part of the product. docs/performance.md describes them and has their results.
"""
