"""Routes of several hops: source, read by a group into a topic, that is read by another group into the next, up to the sinks.

Each hop is checked as an integration of its own; what is lost or doubled belongs to the hop where it happened.
"""
