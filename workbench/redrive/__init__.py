"""Redrive: sends dead letters back. The only part of the workbench that writes to a cluster that is not the sandbox."""
