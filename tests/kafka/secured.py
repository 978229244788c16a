"""A sandbox node with a second, secured listener: SASL/PLAIN users, bearer tokens, and ACLs that StandardAuthorizer enforces."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from workbench.config import Profile, profile_from_options
from workbench.sandbox.kafka import start
from workbench.sandbox.ports import free_ports
from workbench.sandbox.tokens import AUDIENCE, TokenEndpoint

USERS = ("full", "reader", "nobody")
_KINDS = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
    "--cluster": ResourceType.BROKER,
}


@dataclass(frozen=True)
class Secured:
    """Where it is: ``plain`` is the superuser's listener, ``bootstrap`` the secured one."""

    plain: str
    bootstrap: str

    def profile(self, user: str, password: str | None = None) -> Profile:
        settings = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user}
        return profile_from_options(self.bootstrap, {**settings, "sasl.password": password or f"{user}-password"})

    def grant(self, commands: str) -> None:
        """Does what printed ``kafka-acls`` commands say, and waits until it holds."""
        admin = AdminClient({"bootstrap.servers": self.plain})
        bindings = [binding for line in commands.splitlines() for binding in bindings_of(line)]
        for future in admin.create_acls(bindings).values():
            future.result()
        time.sleep(0.5)


def bindings_of(command: str) -> list[AclBinding]:
    words = shlex.split(command)
    principal = words[words.index("--allow-principal") + 1]
    kind = next(word for word in words if word in _KINDS)
    name = "kafka-cluster" if kind == "--cluster" else words[words.index(kind) + 1]
    operations = [words[at + 1] for at, word in enumerate(words) if word == "--operation"]
    named = {"DescribeConfigs": "DESCRIBE_CONFIGS"}
    return [
        AclBinding(
            _KINDS[kind], name, ResourcePatternType.LITERAL, principal, "*",
            AclOperation[named.get(operation, operation.upper())], AclPermissionType.ALLOW,
        )
        for operation in operations
    ]  # fmt: skip


def bearer(tokens: TokenEndpoint) -> dict[str, str]:
    """Lines of server.properties: the secured listener also takes tokens that this endpoint signed for Kafka."""
    oauth, validator = "org.apache.kafka.common.security.oauthbearer", "OAuthBearerValidatorCallbackHandler"
    return {
        "sasl.enabled.mechanisms": "PLAIN,OAUTHBEARER",
        "listener.name.secured.oauthbearer.sasl.jaas.config": f"{oauth}.OAuthBearerLoginModule required;",
        "listener.name.secured.oauthbearer.sasl.server.callback.handler.class": f"{oauth}.{validator}",
        "sasl.oauthbearer.jwks.endpoint.url": tokens.jwks_url,
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": tokens.url,
        "sasl.oauthbearer.clock.skew.seconds": "0",
        # KIP-368: a connection ends with the token that opened it.
        "connections.max.reauth.ms": "3600000",
    }


@contextmanager
def secured(tokens: TokenEndpoint | None = None) -> Iterator[Secured]:
    """One node; who comes over its first listener may do everything, as the brokers do among themselves."""
    users = " ".join(f'user_{user}="{user}-password"' for user in USERS)
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    with start() as kafka:
        node, port = kafka.nodes[0], free_ports(1)[0]
        lines = {
            "listeners": f"PLAINTEXT://127.0.0.1:{node.port},SECURED://127.0.0.1:{port},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port},SECURED://127.0.0.1:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secured.plain.sasl.jaas.config": f"{module} required {users};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:full",
            **(bearer(tokens) if tokens else {}),
        }
        kept = [line for line in node.properties_file.read_text().splitlines() if line.split("=")[0] not in lines]
        node.properties_file.write_text("\n".join([*kept, *(f"{key}={value}" for key, value in lines.items())]))
        if tokens:
            # Kafka 4 asks no address that is not listed.
            kafka.java_options = (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={tokens.jwks_url}",)
        kafka.restart(node.node_id)
        yield Secured(kafka.bootstrap, f"127.0.0.1:{port}")
