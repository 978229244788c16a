"""A real local Kafka to try things on and to test with. Nobody but the command line and tests imports this package."""
