"""workbench.toml: what is accepted, what is refused and named, and what never shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from workbench.config import (
    Config,
    hide_secrets,
    is_secret,
    load_config,
    parse_duration,
    parse_when,
    profile_from_options,
)
from workbench.errors import ConfigError, UsageError

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LOGIN = "me:hush@"  # of an address
KAFKA = 'kafka = { "bootstrap.servers" = "broker:9092" }'


@pytest.fixture
def config(tmp_path):
    def write(text: str) -> Config:
        path = tmp_path / "workbench.toml"
        path.write_text(text)
        return load_config(path)

    return write


def refused(config, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config(text)
    return caught.value


def test_a_profile_keeps_librdkafka_keys_verbatim_and_as_text(config, monkeypatch):
    monkeypatch.setenv("PW", "s3cret")
    found = config(
        """
        [profiles.orders]
        production = true
        kafka = { "bootstrap.servers" = "b:9092", "sasl.password" = "${PW}", "socket.timeout.ms" = 5000, "log.queue" = true }
        prometheus = { url = "http://p:9090", bearer_token = "${PW}" }
        """
    ).profile("orders")
    assert dict(found.kafka) == {
        "bootstrap.servers": "b:9092",
        "sasl.password": "s3cret",
        "socket.timeout.ms": "5000",
        "log.queue": "true",
    }
    assert found.production
    assert not found.redrive
    assert found.traces is None


def test_secrets_never_show(config, monkeypatch):
    monkeypatch.setenv("PW", "s3cret")
    loaded = config(
        """
        [profiles.a]
        kafka = { "bootstrap.servers" = "b:9092", "sasl.password" = "${PW}", "ssl.key.pem" = "${PW}" }
        registry = { url = "http://r", client_secret = "${PW}" }
        """
    )
    shown = f"{loaded!r} {loaded.profile('a')!r} {profile_from_options('b:1', {'sasl.password': 's3cret'})!r}"
    assert "s3cret" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "key", ["sasl.password", "ssl.key.pem", "client_secret", "bearer_token", "api_key", "sasl.jaas.config", "ssl.keystore.password"]
)  # fmt: skip
def test_what_counts_as_a_secret(key):
    assert is_secret(key)


@pytest.mark.parametrize(
    "key",
    ["ssl.key.location", "sasl.oauthbearer.token.endpoint.url",
      "token_url", "api_key_header", "ca_file", "sasl.username", "key.serializer"],
)  # fmt: skip
def test_what_does_not(key):
    assert not is_secret(key)


def test_secrets_are_hidden_at_any_depth():
    hidden = hide_secrets({"a": {"password": "x", "url": f"http://{LOGIN}h/"}, "b": 1, "token": None})
    assert hidden == {"a": {"password": "***", "url": "http://***@h/"}, "b": 1, "token": None}


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('kafka = { "bootstrap.servers" = "b:1", "sasl.password" = "hush" }', "profiles.p.kafka.sasl.password"),
        ('kafka = { "bootstrap.servers" = "b:1", "sasl.password" = "${PW:-hush}" }', "profiles.p.kafka.sasl.password"),
        ('kafka = { "bootstrap.servers" = "b:1", "sasl.password" = "x${PW}" }', "profiles.p.kafka.sasl.password"),
        (f'{KAFKA}\nprometheus = {{ url = "x", bearer_token = "hush" }}', "profiles.p.prometheus.bearer_token"),
        (f'{KAFKA}\nprometheus = {{ url = "http://{LOGIN}x" }}', "profiles.p.prometheus.url"),
    ],
)
def test_a_secret_in_clear_is_refused_by_its_key(config, line, key):
    error = refused(config, f"[profiles.p]\n{line}")
    assert key in str(error)
    assert "hush" not in f"{error} {error.hint}"


def test_a_secret_in_clear_is_refused_in_other_sections(config):
    assert "webhooks.team.token" in str(refused(config, '[webhooks.team]\nurl = "http://x"\ntoken = "hush"'))


@pytest.mark.parametrize(
    ("text", "named", "near"),
    [
        ("[profile.x]", "'profile'", "profiles"),
        (f"[profiles.x]\n{KAFKA}\nprodution = true", "'prodution'", "production"),
        (f"[profiles.x]\n{KAFKA}\nprometheus = {{ ulr = '1' }}", "'ulr'", "url"),
        ('[integrations.x]\nprofile = "p"\nsource = "s"\nsink = ["t"]', "'sink'", "sinks"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(config, text, named, near):
    error = refused(config, text)
    assert named in str(error)
    assert near in error.hint


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[profiles.x]\nproduction = true", "bootstrap.servers"),
        ("[profiles.x]\nkafka = 3", "kafka"),
        (f'[profiles.x]\n{KAFKA}\nproduction = "yes"', "production"),
        ("[profiles.x]\nkafka.bootstrap.servers = 'b:1'", "bootstrap.servers"),
        ('[integrations.x]\nprofile = "p"', "source"),
        ('[integrations.x]\nprofile = "p"\nsource = "s"\nsinks = [1]', "sinks"),
        ('[integrations.x]\nprofile = "p"\nsource = "s"\nhorizon = 5', "horizon"),
        ('[integrations.x]\nprofile = "p"\nsource = "s"\nhorizon = "soon"', "horizon"),
        ("profiles = 3", "profiles"),
        ("= nonsense", "TOML"),
    ],
)
def test_values_that_do_not_fit_are_named(config, text, key):
    assert key in str(refused(config, text))


def test_a_missing_variable_is_named_only_for_the_profile_that_needs_it(config, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    loaded = config(
        f'[profiles.a]\n{KAFKA}\n[profiles.b]\nkafka = {{ "bootstrap.servers" = "${{NOT_SET}}" }}\n'
        '[profiles.c]\nkafka = { "bootstrap.servers" = "${NOT_SET:-c:9092}" }'
    )
    assert loaded.profile("a").bootstrap == "broker:9092"
    assert loaded.profile("c").bootstrap == "c:9092"
    with pytest.raises(ConfigError, match=r"profiles\.b\.kafka.*NOT_SET"):
        loaded.profile("b")


def test_unknown_names_are_answered_with_the_nearest(config):
    loaded = config(f'[profiles.orders]\n{KAFKA}\n[integrations.demo]\nprofile = "orders"\nsource = "s"')
    with pytest.raises(ConfigError) as caught:
        loaded.profile("order")
    assert "'orders'" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        loaded.integration("billing")
    assert "demo" in caught.value.hint


def test_no_name_takes_the_only_profile_or_the_default(config):
    assert config(f"[profiles.one]\n{KAFKA}").profile().name == "one"
    assert config(f"[profiles.one]\n{KAFKA}\n[profiles.default]\n{KAFKA}").profile().name == "default"
    with pytest.raises(ConfigError, match="No cluster"):
        config(f"[profiles.one]\n{KAFKA}\n[profiles.two]\n{KAFKA}").profile()


def test_an_integration_takes_one_topic_or_a_list(config):
    found = config('[integrations.d]\nprofile = "p"\nsource = "s"\nsinks = "t"\ndead_letters = ["u", "v"]').integration(
        "d"
    )
    assert (found.sinks, found.dead_letters, found.group, found.horizon) == (("t",), ("u", "v"), None, None)


def test_where_the_file_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKBENCH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert load_config().path is None
    (tmp_path / "workbench.toml").write_text(f"[profiles.here]\n{KAFKA}")
    assert list(load_config().profiles) == ["here"]
    (tmp_path / "other.toml").write_text(f"[profiles.there]\n{KAFKA}")
    monkeypatch.setenv("WORKBENCH_CONFIG", "other.toml")
    assert list(load_config().profiles) == ["there"]
    monkeypatch.setenv("WORKBENCH_CONFIG", "missing.toml")
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load_config()


@pytest.mark.parametrize("bootstrap", ["", "a b", f"http://{LOGIN}h:1", "host:port", "h:1,,h:2"])
def test_a_bootstrap_that_is_no_address_is_refused(bootstrap):
    with pytest.raises(ConfigError):
        profile_from_options(bootstrap)


@pytest.mark.parametrize("bootstrap", ["localhost:9092", "a:1,b:2", "[::1]:9092", "SASL_SSL://h:1", "h"])
def test_addresses_that_librdkafka_takes(bootstrap):
    assert profile_from_options(bootstrap).bootstrap == bootstrap


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200), ("1h30m", 5400), ("1.5h", 5400)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "-5m", "5x", "1h-5m"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T13:00:00+02:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T11:00:00Z", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-31T11:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("2026-01-30", datetime(2026, 1, 30, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("now", NOW),
    ],
)
def test_moments(text, moment):
    assert parse_when(text, NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "", "99999999999d"])
def test_what_is_no_moment(text):
    with pytest.raises(UsageError):
        parse_when(text, NOW)


def test_an_endpoint_whose_variable_is_empty_is_not_configured(tmp_path, monkeypatch):
    file = tmp_path / "workbench.toml"
    file.write_text(
        '[profiles.p]\nkafka = { "bootstrap.servers" = "h:1" }\nprometheus = { url = "${SOMEWHERE:-}" }\n'
        'traces = { kind = "otlp-file", path = "${ELSEWHERE:-}" }\n'
    )
    monkeypatch.delenv("SOMEWHERE", raising=False)
    monkeypatch.setenv("ELSEWHERE", "spans.jsonl")
    found = load_config(file).profile("p")
    assert found.prometheus is None
    assert found.traces == {"kind": "otlp-file", "path": "spans.jsonl"}


def test_a_format_that_is_no_name_is_refused(config):
    error = refused(
        config, f"""
        [profiles.p]
        {KAFKA}
        [integrations.i]
        profile = "p"
        source = "orders"
        formats = {{ orders = 5 }}
        """
    )  # fmt: skip
    assert "formats" in str(error)
