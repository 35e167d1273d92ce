"""Comparison of Corelane with Kafka on one machine. See the head of ../compare."""
