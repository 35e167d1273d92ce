"""Comparison of Corelane with brokers of other kinds on one machine. See `compare --help`, under --peers."""
