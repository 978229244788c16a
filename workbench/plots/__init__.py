"""Figures: one function each, pure over an examination: its evidence, ledger and report.

Everything is aggregated before plotly sees it, so that a figure has at most a few thousand numbers whatever the topic's
size. Figures carry no background and a neutral ink, which reads on light and on dark pages; numbers stand in the marks, so
that colour is never the only signal. Names from messages are escaped: plotly reads a subset of HTML.
"""

from workbench.plots.forecast import lag_forecast
from workbench.plots.lag import lag_and_rates, lag_over_time_and_partition, time_lags
from workbench.plots.messages import (
    cause_groups_over_time,
    copies_by_partition_pair,
    copies_over_time,
    dead_letters_over_time,
    dispositions,
    life,
    loss_over_time_and_partition,
)

__all__ = [
    "cause_groups_over_time",
    "copies_by_partition_pair",
    "copies_over_time",
    "dead_letters_over_time",
    "dispositions",
    "lag_and_rates",
    "lag_forecast",
    "lag_over_time_and_partition",
    "life",
    "loss_over_time_and_partition",
    "time_lags",
]
