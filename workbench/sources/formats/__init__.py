"""Formats of keys and values: what is not JSON is decoded to JSON text once, where records are derived."""

from workbench.sources.formats.decoding import Decoder, schema_id_of
from workbench.sources.formats.registry import Registry

__all__ = ["Decoder", "Registry", "schema_id_of"]
