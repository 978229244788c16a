"""Reads Kafka as record batches: the Fetch response itself, straight into Arrow."""
