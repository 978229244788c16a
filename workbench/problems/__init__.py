"""Problems: each collects evidence and diagnoses it by rules; none imports another."""
