"""The JMX exporter inside a broker: what Kafka counts about itself, as Prometheus reads it."""

from __future__ import annotations

from pathlib import Path

from workbench.sandbox.jars import jmx_agent
from workbench.sandbox.layout import NodePlan

# Without a choice a broker answers with 13,000 lines; these are the ones that tell of faults and of traffic.
CONFIG = """\
lowercaseOutputName: true
includeObjectNames:
- kafka.controller:type=KafkaController,*
- kafka.controller:type=ControllerStats,*
- kafka.controller:type=ControllerEventManager,*
- kafka.server:type=ReplicaManager,*
- kafka.server:type=group-coordinator-metrics,*
- kafka.server:type=transaction-coordinator-metrics,*
- kafka.server:type=share-coordinator-metrics,*
- kafka.server:type=broker-metadata-metrics
- kafka.server:type=raft-metrics
- kafka.server:type=FetcherLagMetrics,*
- kafka.server:type=BrokerTopicMetrics,*
- kafka.log:type=Log,name=LogEndOffset,*
- kafka.log:type=Log,name=LogStartOffset,*
- kafka.log:type=LogCleanerManager,*
- kafka.log:type=LogCleaner,*
- kafka.log:type=LogManager,*
- kafka.cluster:type=Partition,name=LastStableOffsetLag,*
- kafka.cluster:type=Partition,name=UnderReplicated,*
- kafka.coordinator.transaction:*
- kafka.coordinator.group:*
- kafka.network:type=RequestMetrics,name=ErrorsPerSec,*
- java.lang:type=GarbageCollector,*
rules:
- pattern: ".*"
"""


def agent_option(plan: NodePlan, folder: Path) -> list[str]:
    """The JVM's option that loads the exporter, or none for a node without one.

    Args:
        plan: of the node.
        folder: of the cluster; the exporter's configuration is written there.
    """
    if not plan.metrics_port:
        return []
    config = folder / "jmx.yml"
    config.write_text(CONFIG)
    return [f"-javaagent:{jmx_agent()}=127.0.0.1:{plan.metrics_port}:{config}"]
