"""The same series and the same queries in obskit's engine and in a real Prometheus: the answers must be the same.

`python -m tests.promql.differential --seed N --queries 5000` runs a long campaign, tests/promql/test_differential.py
a short one. What is known to have changed since the Prometheus at hand stands in changes.py.
"""
