"""Who may do what with the OpenBao provider: policies, token files, certificates, addresses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keys.errors import KeyStoreMissingError, ProviderDeniedError, ProviderUnavailableError, SecretFileError
from keys.providers.openbao import OpenBaoConfig, OpenBaoProvider
from tests.keys.providers.conformance import NAME, OTHER, relabelled, silent_about, to_wrap, wrapped
from tests.keys.providers.openbao_server import make_authority


@pytest.fixture
def provider(openbao_provider):
    """The provider with two keys in version 1."""
    return openbao_provider


def with_token(config, token, file):
    """The same keys with another token."""
    file.touch(mode=0o600)
    file.write_text(token)
    return OpenBaoProvider(replace(config, token_file=file))


def rules(config, **paths):
    """A policy: capabilities for paths under the engine, ``{}`` standing for the prefix."""
    lines = []
    for path, capability in paths.items():
        full = path.replace("__", "/").replace("NAME", config.prefix + NAME).replace("OTHER", config.prefix + OTHER)
        lines.append(f'path "{config.mount}/{full}" {{ capabilities = ["{capability}"] }}')
    return "\n".join(lines)


def test_a_host_may_rotate_without_being_able_to_read(openbao, openbao_config, provider, tmp_path):
    """With rights to rotate, rewrap and trim alone: no key comes out of the service for this host."""
    made = wrapped(provider, 3)
    policy = rules(
        openbao_config,
        keys__NAME="read",
        keys__NAME__rotate="update",
        keys__NAME__config="update",
        keys__NAME__trim="update",
        rewrap__NAME="update",
    )
    rotating = with_token(openbao_config, openbao.token(policy), tmp_path / "rotating")
    assert rotating.new_version(NAME, 1) == 2
    again = relabelled(made.items, rotating.rewrap(NAME, 2, made.items), 2)
    rotating.trim(NAME, 2)
    for call in (lambda: rotating.unwrap(NAME, again), lambda: rotating.wrap(NAME, 2, to_wrap(1))):
        with pytest.raises(ProviderDeniedError):
            call()
    assert provider.unwrap(NAME, again) == made.keys
    rotating.close()


def test_a_host_may_be_kept_away_from_a_level(openbao, openbao_config, provider, tmp_path):
    """Rights for one key's name are rights for one sensitivity."""
    mine, other = wrapped(provider), wrapped(provider, name=OTHER)
    policy = rules(openbao_config, keys__NAME="read", encrypt__NAME="update", decrypt__NAME="update")
    limited = with_token(openbao_config, openbao.token(policy), tmp_path / "limited")
    assert limited.unwrap(NAME, mine.items) == mine.keys
    assert limited.unwrap(NAME, wrapped(limited).items)
    for call in (
        lambda: limited.unwrap(OTHER, other.items),
        lambda: limited.wrap(OTHER, 1, to_wrap(1)),
        lambda: limited.describe(OTHER),
        lambda: limited.new_version(NAME, 1),
        lambda: limited.create(["more"]),
    ):
        with pytest.raises(ProviderDeniedError):
            call()
    assert provider.describe(NAME).current == 1
    limited.close()


def test_a_token_put_into_the_file_is_found(openbao, openbao_config, provider, tmp_path, caplog):
    """A revoked token is refused; the next one is read from the file without starting again."""
    made = wrapped(provider)
    policy = rules(openbao_config, keys__NAME="read", decrypt__NAME="update")
    first, second = openbao.token(policy), openbao.token(policy)
    host = with_token(openbao_config, first, tmp_path / "host")
    assert host.unwrap(NAME, made.items) == made.keys
    openbao.call("POST", "auth/token/revoke", {"token": first})
    secrets = [first.encode(), *made.keys]
    with pytest.raises(ProviderDeniedError), silent_about(secrets, caplog):
        host.unwrap(NAME, made.items)
    (tmp_path / "host").write_text(f"  {second}\n")
    assert host.unwrap(NAME, made.items) == made.keys
    host.close()


def test_a_token_is_read_from_a_private_file_only(openbao_config, provider):
    """Missing, open to others, a link, or without a token in it."""
    file = openbao_config.token_file
    token = file.read_text()
    file.chmod(0o640)
    with pytest.raises(SecretFileError):
        OpenBaoProvider(openbao_config).describe(NAME)
    file.chmod(0o600)
    for content in ("", " \n", "two tokens", "s.\x01x", "s.ümlaut"):
        file.write_text(content)
        with pytest.raises(ProviderDeniedError):
            OpenBaoProvider(openbao_config).describe(NAME)
    file.rename(file.with_name("elsewhere"))
    with pytest.raises(KeyStoreMissingError):
        OpenBaoProvider(openbao_config).describe(NAME)
    file.symlink_to(file.with_name("elsewhere"))
    file.with_name("elsewhere").write_text(token)
    with pytest.raises(SecretFileError):
        OpenBaoProvider(openbao_config).describe(NAME)


def test_a_server_must_prove_who_it_is(openbao_config, tmp_path, caplog):
    """Another authority, and the system's own list, do not vouch for it; no token is sent before that."""
    make_authority(tmp_path)
    for ca_file in (tmp_path / "ca.pem", None):
        with (
            pytest.raises(ProviderUnavailableError, match="prove"),
            silent_about([openbao_config.token_file.read_bytes().strip()], caplog),
        ):
            OpenBaoProvider(replace(openbao_config, ca_file=ca_file)).describe(NAME)
    with pytest.raises(ProviderDeniedError, match="no file"):
        OpenBaoProvider(replace(openbao_config, ca_file=tmp_path / "none.pem"))


@pytest.mark.parametrize(
    "address",
    [
        "http://10.0.0.1:8200",
        "http://bao.example.com",
        "http://127.0.0.1.example.com:8200",
        "http://localhost.example.com",
        "ftp://127.0.0.1",
        "127.0.0.1:8200",
        "",
        "https://",
        "https://user:secret@host",
        "https://host/v1",
        "https://host:port",
        "https://host?namespace=x",
    ],
)
def test_an_address_is_encrypted_and_no_more_than_an_address(tmp_path, address):
    """Plain http is for this machine only; the error does not repeat what may hold a password."""
    with pytest.raises(ProviderDeniedError) as caught:
        OpenBaoProvider(OpenBaoConfig(address, tmp_path / "token"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"timeout": 0.0}])
def test_settings_that_cannot_work_are_refused(settings):
    """No request without an attempt, none without time."""
    with pytest.raises(ValueError, match="positive"):
        OpenBaoConfig("https://host", Path("token"), **settings)


def test_the_environment_redirects_nothing(openbao_config, provider, monkeypatch):
    """Neither proxies nor addresses, tokens, namespaces and authorities of other tools are taken from it."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "VAULT_ADDR", "BAO_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("VAULT_TOKEN", "VAULT_NAMESPACE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT"):
        monkeypatch.setenv(name, "/nowhere")
    made = wrapped(provider)
    assert OpenBaoProvider(openbao_config).unwrap(NAME, made.items) == made.keys
