"""What this principal may do, as far as it is proven: listings leave out silently what they deny.

ACLs are asked through kafka-python: librdkafka 2.16 drops the error of DescribeAcls, so that "no authorizer", "denied" and
"no ACL" all look like an empty list.
"""

from __future__ import annotations

from typing import Any

from workbench.sources.mapping import SECURITY_DISABLED, fault_of, reason


def transaction_acls(admin: Any) -> tuple[list[Any] | None, str]:
    """(ACLs on transactional ids, why there are none to see).

    Args:
        admin: a ``kafka.KafkaAdminClient``.

    Returns:
        (ACLs, ""); (None, "") with no authorizer: everything is allowed; (None, reason): ACLs may not be read.

    Reads: DescribeAcls (needs Describe on the cluster).
    """
    from kafka.admin import (
        ACLFilter,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        ResourcePatternFilter,
        ResourceType,
    )

    pattern = ResourcePatternFilter(ResourceType.TRANSACTIONAL_ID, None, ACLResourcePatternType.ANY)
    try:
        found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, pattern))
    except Exception as error:  # noqa: BLE001 - kafka-python raises many kinds; each ends as a reason
        if fault_of(error).code == SECURITY_DISABLED:
            return None, ""
        return None, reason(error, "DescribeAcls", "the cluster")
    return list(found), ""


def sees_all_transactions(admin: Any, principal: str) -> tuple[bool, str]:
    """Whether every transactional id is proven to be visible, and if not, why.

    Args:
        admin: a ``kafka.KafkaAdminClient``.
        principal: ``User:name``; empty when it is not known (TLS, tokens).
    """
    unproven = "rights on all transactional ids are not proven"
    acls, why = transaction_acls(admin)
    if acls is None:
        return (False, f"{unproven}: {why}") if why else (True, "")
    ours = [acl for acl in acls if acl.principal in {"User:*", principal}]
    if any(_shows_all(acl) for acl in ours) and not any(acl.permission_type.name == "DENY" for acl in ours):
        return True, ""
    return False, f"{unproven}: ask for Describe on transactional id *"


def _shows_all(acl: Any) -> bool:
    everywhere = acl.resource_pattern.resource_name == "*" and acl.host == "*"
    return everywhere and acl.operation.name in {"DESCRIBE", "WRITE", "ALL"} and acl.permission_type.name == "ALLOW"
