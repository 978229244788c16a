"""Capture: a bounded scan of records into Parquet, resumable, by readers behind one seam."""

from workbench.capture.expressions import check_expression, check_predicate
from workbench.capture.identity import resolve_id_from
from workbench.capture.match import Match
from workbench.capture.parts import interrupted_spec
from workbench.capture.preflight import Estimate, estimate
from workbench.capture.readers import load_ahead
from workbench.capture.sampling import decoded_sample, sample
from workbench.capture.scan import Capture, ScanProgress, capture
from workbench.capture.schema import BATCHES, CAPTURE, OUTCOME, RAW, capture_schema
from workbench.capture.spec import WANTABLE, CaptureSpec, IdFrom, Limits, PartitionRange, TopicSpec

__all__ = [
    "BATCHES",
    "CAPTURE",
    "OUTCOME",
    "RAW",
    "WANTABLE",
    "Capture",
    "CaptureSpec",
    "Estimate",
    "IdFrom",
    "Limits",
    "Match",
    "PartitionRange",
    "ScanProgress",
    "TopicSpec",
    "capture",
    "capture_schema",
    "check_expression",
    "check_predicate",
    "decoded_sample",
    "estimate",
    "interrupted_spec",
    "load_ahead",
    "resolve_id_from",
    "sample",
]
