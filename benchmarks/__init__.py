"""Side-by-side measurements on one real broker: ``python -m benchmarks`` (or ``make bench``)."""
