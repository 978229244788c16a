"""The reference integration: what a well-behaved service on Kafka looks like, and what users import to make theirs provable."""
