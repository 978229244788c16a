"""What stands beside Kafka in the sandbox: Prometheus and Alertmanager, a trace store."""
