"""Measurements of speed and memory, each of ours against something else: `python -m benchmarks`.

Not part of the product; docs/performance.md says what is measured and what came out.
"""
